// Package lzma compresses as GRUB does: for the same input, the output has the
// same bytes. Of many valid streams a test of Fedora CoreOS accepts only that
// one as GRUB's own.
//
// The format is LZMA as in the specification of the LZMA SDK. GRUB's encoder is
// that SDK's of version 4.58 with its defaults: binary trees find matches, and
// a search for the cheapest way through them looks ahead until the next long
// match. Details that the specification leaves open, such as how often prices are
// computed anew and which of two equally cheap ways is taken, follows it too.
// See grub-core/lib/LzmaEnc.c and grub-core/lib/LzFind.c of GRUB.
package lzma
