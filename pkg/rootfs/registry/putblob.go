package registry

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"

	"github.com/opencontainers/go-digest"
	imgspec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A Blob is content to push. Its digest and size are known beforehand, and are
// verified while it is sent.
type Blob struct {
	Name   string // of the file, for errors
	Digest digest.Digest
	Size   int64 // in bytes
	Source Source
}

// A Source opens the content of a blob. The error of content that does not match
// its size or digest is an [ErrSource].
type Source interface {
	Open() (Content, error)
}

// Content is open content, readable at any offset.
type Content interface {
	io.ReaderAt
	io.Closer
}

// Bytes is a small source in memory.
type Bytes []byte

// Open implements [Source].
func (b Bytes) Open() (Content, error) { return bytesContent{bytes.NewReader(b)}, nil }

type bytesContent struct{ *bytes.Reader }

func (bytesContent) Close() error { return nil }

// NewBlob returns a blob of some bytes.
func NewBlob(name string, content []byte) Blob {
	return Blob{Name: name, Digest: digest.FromBytes(content), Size: int64(len(content)), Source: Bytes(content)}
}

// Descriptor returns the descriptor of the blob with a media type.
func (b Blob) Descriptor(mediaType string) imgspec.Descriptor {
	return imgspec.Descriptor{MediaType: mediaType, Digest: b.Digest, Size: b.Size}
}

// A Transfer is the way in which a blob came into a repository.
type Transfer string

// Transfers of blobs.
const (
	Sent    Transfer = "sent"    // uploaded
	Present Transfer = "present" // the repository had it
	Mounted Transfer = "mounted" // from another repository of the registry
)

// PutBlob puts a blob into the repository. It sends the blob in one request, as
// docker and skopeo do. When the connection breaks, it asks the registry for the
// offset and sends the rest in pieces, or begins again if the registry does not
// tell. mountFrom is the path of a repository that may have the blob, or empty.
func (r *Repo) PutBlob(ctx context.Context, b Blob, mountFrom string, p Progress) (Transfer, error) {
	how, err := r.putBlob(r.Writable(ctx), b, mountFrom, p)
	return how, explain(b.Name, err)
}

func (r *Repo) putBlob(ctx context.Context, b Blob, mountFrom string, p Progress) (Transfer, error) {
	there, err := r.exists(ctx, b)
	if err != nil {
		return "", err
	}
	if there {
		p.Done(b.Size)
		return Present, nil
	}
	content, err := b.Source.Open()
	if err != nil {
		return "", err
	}
	defer content.Close()
	u := &upload{repo: r, ctx: ctx, blob: b, mountFrom: mountFrom, progress: p, content: content, sum: sha256.New()}
	if err := u.run(); err != nil {
		return "", err
	}
	return u.how, nil
}

func (r *Repo) exists(ctx context.Context, b Blob) (bool, error) {
	return r.remote.Blobs().Exists(ctx, b.Descriptor(""))
}
