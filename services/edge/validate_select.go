package edge

import (
	"fmt"

	"github.com/crossfade-project/crossfade/internal/certs"
	pb "github.com/crossfade-project/crossfade/proto/crossfade/v1"
)

// The bounds of target sets, as the contract states them.
const (
	MaxTargets  = 100_000 // rows of a set
	TargetChunk = 1000    // rows of a chunk
)

// isBlock is what the name of an entry of the block list looks like.
func isBlock() form {
	return form{"blocks/{sort}.{hash}, as ListBlocks shows it", func(n string) bool { _, ok := ParseBlock(n); return ok }}
}

func isTargetSet() form {
	return form{"targetSets/{id}", func(n string) bool { _, ok := ParseTargetSet(n); return ok }}
}

// block checks what is to be put on the block list.
func (v *violations) block(m *pb.BlockCertificateRequest) {
	if _, path, ok := BlockSubject(m); path == "" {
		v.add("subject", "REQUIRED", "must be set: sha256, sha1 or key_hash")
	} else if !ok {
		v.add(path, "FORMAT", "must be hexadecimal digits: 64, or 40 for sha1")
	}
	v.reason(m.GetReason())
	v.requestID(m.GetRequestId())
}

// BlockSubject returns the entry that a request is for, the field that names it, and
// whether that can be read.
func BlockSubject(m *pb.BlockCertificateRequest) (id certs.BlockID, path string, ok bool) {
	var err error
	switch s := m.GetSubject().(type) {
	case *pb.BlockCertificateRequest_Sha256:
		path = "sha256"
		id, err = certs.NewBlockID(certs.BlockSHA256, s.Sha256)
	case *pb.BlockCertificateRequest_Sha1:
		path = "sha1"
		id, err = certs.NewBlockID(certs.BlockSHA1, s.Sha1)
	case *pb.BlockCertificateRequest_KeyHash:
		path = "key_hash"
		id, err = certs.NewBlockID(certs.BlockKeyHash, s.KeyHash)
	default:
		return id, "", false
	}
	return id, path, err == nil
}

func (v *violations) createTargetSet(m *pb.CreateTargetSetRequest) {
	v.requestID(m.GetRequestId())
	s := m.GetTargetSet()
	if s == nil {
		v.add("target_set", "REQUIRED", "must be set")
		return
	}
	v.name("target_set.name", s.GetName(), isTargetSet)
	v.text("target_set.display_name", s.GetDisplayName(), maxDisplayName)
	if n := s.GetExpectedRows(); n < 1 || n > MaxTargets {
		v.add("target_set.expected_rows", "RANGE", fmt.Sprintf("must be 1 to %d", MaxTargets))
	}
}

// chunk checks a chunk of a target set. Its rows are looked at by the service, which
// names those that are wrong.
func (v *violations) chunk(firstRow int32, rows int) {
	if firstRow < 0 || firstRow >= MaxTargets || firstRow%TargetChunk != 0 {
		v.add("first_row", "RANGE", fmt.Sprintf("must be a multiple of %d from 0 to %d", TargetChunk, MaxTargets-TargetChunk))
	}
	v.count("targets", rows, 1, TargetChunk)
}

// upload checks a message of UploadTargets. Only the first needs a name.
func (v *violations) upload(m *pb.UploadTargetsRequest) {
	if m.GetName() != "" {
		v.name("name", m.GetName(), isTargetSet)
	}
	v.chunk(m.GetFirstRow(), len(m.GetTargets()))
}
