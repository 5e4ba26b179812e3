package audit

import (
	"slices"
	"strconv"
)

// Ranges writes positions as ranges, "0-4,7,9-12", in texts that each fit into a record
// whole. Nothing is left out: whoever tells makes as many records as there are texts.
func Ranges(ords []int) []string {
	ords = slices.Clone(ords)
	slices.Sort(ords)
	ords = slices.Compact(ords)
	var out []string
	text := ""
	for i := 0; i < len(ords); {
		j := i
		for j+1 < len(ords) && ords[j+1] == ords[j]+1 {
			j++
		}
		part := strconv.Itoa(ords[i])
		if j > i {
			part += "-" + strconv.Itoa(ords[j])
		}
		switch {
		case text == "":
			text = part
		case len(text)+1+len(part) > maxText:
			out = append(out, text)
			text = part
		default:
			text += "," + part
		}
		i = j + 1
	}
	if text != "" {
		out = append(out, text)
	}
	return out
}
