package edge

import "time"

// Bounds on what one caller may send, before anything of it is looked at. They hold for
// what comes out of a compressed request as well.
const (
	maxRequest = 4 << 20  // bytes of one message
	maxHeaders = 64 << 10 // bytes of the metadata of a call
	maxStreams = 1000     // calls at once on one connection
)

// uploadIdle is the default of [Config].UploadIdle: far more than a portal needs to make
// the next chunk.
const uploadIdle = time.Minute

// defaultWatches is the default of [Config].MaxWatches.
const defaultWatches = 4096
