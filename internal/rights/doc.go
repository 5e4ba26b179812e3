// Package rights says who may do what, and for which tenants. Who somebody is was
// proven before, by internal/identity; what is not granted here is denied.
package rights
