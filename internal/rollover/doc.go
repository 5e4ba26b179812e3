// Package rollover holds the rules by which a credential is replaced: what a
// rotation, a task and a plan are, which step comes next, and what must be
// true before it is taken.
//
// The package imports the standard library only. It knows no queue, no wire and
// no kind of credential; those are handed in as a [Store] and a [Driver].
//
// One task goes through the phases
//
//	planned → staged → verified → activated → retired
//
// by the steps Stage, Verify, Activate and Retire. [Next] says which step is
// due; it is pure. [Engine.Advance] does steps and saves the task after each,
// so that a process may die on any line: whoever comes next reads the record
// and the target, and goes on from there.
package rollover
