// Package audit is the log of who did what, in which nothing can be changed, left out or
// moved without being noticed. Its records are the leaves of a Merkle tree (RFC 6962);
// signed notes say what the tree was at which size. Whoever has one such note finds every
// change of what was there when it was signed.
//
// Where the records are kept is somebody else's matter: see [Store].
package audit
