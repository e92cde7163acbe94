// Package lzma compresses data with LZMA, to the same bytes as GRUB's encoder.
// Many streams are valid, but a test of Fedora CoreOS compares the bytes with
// those of GRUB, so that no other encoder can replace this one.
//
// The format is LZMA of the specification of the LZMA SDK. The encoder of GRUB is
// that of the SDK, version 4.58, with its defaults: binary trees find matches, and
// a search for the cheapest sequence looks ahead until the next long match. The
// package also follows it in details that the specification leaves open, such as
// the age of prices and the choice between two equally cheap sequences.
// See grub-core/lib/LzmaEnc.c and grub-core/lib/LzFind.c of GRUB.
package lzma
