// Kustomize by itself: it needs versions of its own.
module github.com/crossfade-project/crossfade/tools/kustomize

go 1.26.0
