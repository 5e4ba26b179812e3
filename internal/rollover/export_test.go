package rollover

import "time"

// Failing writes err into a task as an engine does.
func Failing(k Task, err error, now time.Time) Task {
	return NewEngine(Config{}).failed(k, err, now)
}
