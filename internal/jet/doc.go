// Package jet keeps Crossfade's state, queue and feed on NATS JetStream. It is
// the only package that speaks NATS.
//
// Three streams hold everything that moves. ROT has the record of each rotation
// with its selection and its frozen plan. STATE has the last progress of each
// task and what planning found for each tenant. WORK is a short queue of nudges,
// one for each slot at most. The write of a record is the event that the feed
// tells, so there is nothing that could disagree with it. Whatever does not move
// with a rotation (tenants, certificates, requests) lies in buckets.
//
// A decision is made on what the leader of a stream says, never on a replica
// that may lag, and every write of a record is a compare-and-swap. Where the
// answer to a write is lost, the same swap is tried again and the leader is
// asked whose value stands; the outcome is never guessed.
//
// The server runs inside the process with a file store, or is reached by URL.
// The streams and the code are the same.
package jet
