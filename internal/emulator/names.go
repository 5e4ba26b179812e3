package emulator

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// names hands out tenant ids and display names, each once.
type names struct {
	r    *rand.Rand
	used map[string]int
}

func newNames(r *rand.Rand) *names { return &names{r: r, used: map[string]int{}} }

// next returns an id such as amber-harbour, or amber-harbour-2, and the name
// that goes with it.
func (n *names) next() (id, display string) {
	first, second := pick(n.r, firstWords()), pick(n.r, secondWords())
	id = first + "-" + second
	display = strings.ToUpper(first[:1]) + first[1:] + " " + strings.ToUpper(second[:1]) + second[1:]
	n.used[id]++
	if k := n.used[id]; k > 1 {
		id, display = fmt.Sprintf("%s-%d", id, k), fmt.Sprintf("%s %d", display, k)
	}
	return id, display + " " + pick(n.r, []string{"Ltd", "Inc", "GmbH", "SA", "AG", "BV"})
}

func firstWords() []string {
	return strings.Fields(`amber azure bright calm cedar clear cobalt copper coral crimson crystal deep distant early
		eastern elder fair fern flint frost gentle golden granite green hidden hollow indigo iron ivory jade lively
		lunar maple marble mellow misty noble northern oaken olive opal pearl pine plain quiet rapid red river rocky
		royal ruby rustic sandy scarlet shady silent silver slate snowy solar southern spruce steady still stone summer
		sunny swift tall teal upper velvet violet warm western white wild willow winter young`)
}

func secondWords() []string {
	return strings.Fields(`airways anchor apparel bakery bank barn bicycles books boats bridge brook canyon castle
		cheese clinic coffee cove creamery dairy dale energy farm ferries field fisheries forge forest foundry freight
		furniture garden glass grove hall harbour hill hospital hotels insurance island kitchen lake laundry library
		lighthouse logistics market marina meadow media mill mine museum music nursery observatory optics orchard
		paints paper pharmacy pottery press print quarry rail ranch robotics school seeds shipping ski solar spring
		steel studio textiles theatre timber tools toys travel turbines valley vineyard water wharf wool works yard`)
}

// areaOf is the part of the world that a CRM region serves.
func areaOf(region string) string {
	number, _, _ := strings.Cut(strings.TrimPrefix(region, "crm"), ".")
	switch number {
	case "4", "11":
		return "emea"
	case "5", "6", "7", "8":
		return "apac"
	default:
		return "amer"
	}
}

// versionsFrom lists versions of organisations, the common ones more than once,
// that are not below least, such as "8.1"; empty means all.
func versionsFrom(least string) []string {
	all := []string{
		"8.0.1.89", "8.1.0.512", "8.1.1.1022", "8.2.1.176", "8.2.2.112", "8.2.28.6",
		"9.0.2.3034", "9.0.45.7", "9.1.0.3625", "9.1.31.12", "9.2.22101.168", "9.2.23104.205", "9.2.24011.165",
	}
	for i, v := range all {
		if strings.HasPrefix(v, least) {
			return all[i:]
		}
	}
	return nil
}
