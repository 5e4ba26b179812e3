package jet_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/crossfade-project/crossfade/internal/jet"
	"github.com/crossfade-project/crossfade/internal/rollover"
	"github.com/crossfade-project/crossfade/internal/rollover/rollovertest"
)

// childDir names the environment variable that turns a run of
// TestChild_WritesUntilItIsKilled into the process that is killed.
const childDir = "JET_TEST_CHILD_DIR"

const childTasks = 400

// TestChild_WritesUntilItIsKilled is the child of
// TestOpen_NothingAnsweredIsLostByKill; by itself it checks nothing.
func TestChild_WritesUntilItIsKilled(t *testing.T) {
	dir := os.Getenv(childDir)
	if dir == "" {
		return
	}
	b, err := jet.Open(t.Context(), jet.Config{Dir: dir, Certificate: rollovertestCerts([]rollover.Credential{{SHA256: "ab"}})})
	if err != nil {
		t.Fatal(err)
	}
	r, err := b.Rotation(t.Context(), "r1")
	if err != nil {
		if r, err = b.CreateRotation(t.Context(), rollovertest.NewRotation("r1", rollover.Credential{SHA256: "ab"}, rollovertest.Epoch), []string{"a"}); err != nil {
			t.Fatal(err)
		}
		if r, err = r.Freeze(rollovertest.Plan(childTasks), rollovertest.Epoch); err != nil {
			t.Fatal(err)
		}
		if r, err = b.FreezePlan(t.Context(), r, rollovertest.Plan(childTasks)); err != nil {
			t.Fatal(err)
		}
	}
	_ = r
	for w := range 64 { // Enough for group commit to be at work.
		go func() {
			for ord := w; ; ord = (ord + 64) % childTasks {
				k := rollover.Task{ID: rollover.TaskID{Rotation: "r1", Ord: ord}}
				if old, err := b.Task(t.Context(), k.ID); err == nil {
					k = old
				}
				k.Phase, k.Tries = rollover.Staged, k.Tries+1
				if k, err := b.SaveTask(t.Context(), k); err == nil {
					// One write call a line: a torn line is one that was not answered.
					_, _ = os.Stdout.WriteString(fmt.Sprintf("saved %d %d %d\n", k.ID.Ord, k.Tries, k.Rev))
				}
			}
		}()
	}
	select {} // Until it is killed.
}

func TestOpen_NothingAnsweredIsLostByKill(t *testing.T) {
	dir := t.TempDir()
	cert := rollover.Credential{SHA256: "ab"}
	for round := range 3 {
		said := killed(t, dir, 300)
		c := config(t, cert)
		c.Dir = dir
		b, err := jet.Open(t.Context(), c)
		if err != nil {
			t.Fatalf("Open after kill -9, round %d = %v", round, err)
		}
		plan, err := b.Plan(t.Context(), "r1", 0, childTasks)
		if err != nil || len(plan) != childTasks {
			t.Errorf("Plan after kill -9 = %d items, %v", len(plan), err)
		}
		for ord, rev := range said {
			k, err := b.Task(t.Context(), rollover.TaskID{Rotation: "r1", Ord: ord})
			if err != nil || k.Rev < rev {
				t.Errorf("task %d stands at %d, %v; %d was answered", ord, k.Rev, err, rev)
			}
		}
		if err := b.NudgeTask(t.Context(), host, rollover.Nudge{Rotation: "r1"}); err != nil {
			t.Errorf("NudgeTask after kill -9 = %v", err)
		}
		shut(t, b)
	}
}

// killed runs the child on dir, kills it after n answers, and returns the last
// answered version of each task.
func killed(t *testing.T, dir string, n int) map[int]uint64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestChild_WritesUntilItIsKilled$")
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := map[int]uint64{}
	lines := bufio.NewScanner(out)
	count := 0
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) != 4 || f[0] != "saved" {
			continue
		}
		ord, err1 := strconv.Atoi(f[1])
		rev, err2 := strconv.ParseUint(f[3], 10, 64)
		if err1 != nil || err2 != nil {
			t.Fatalf("the child said %q", lines.Text())
		}
		said[ord] = max(said[ord], rev)
		if count++; count == n {
			if err := cmd.Process.Kill(); err != nil { // SIGKILL.
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // It was killed.
	if count < n {
		t.Fatalf("the child ended after %d answers, want %d", count, n)
	}
	return said
}

func TestOpen_TwoServersNeverShareADirectory(t *testing.T) {
	c := config(t)
	open(t, c)
	if b, err := jet.Open(t.Context(), c); err == nil {
		shut(t, b)
		t.Error("Open of a directory in use = nil, want an error")
	}
}
