package bench

// Jain returns Jain's index of fairness of the shares: 1 if all are equal, 1/n if
// one of n has everything. It is 1 for none, and where nobody has anything.
// (Jain, Chiu, Hawe: A Quantitative Measure of Fairness, DEC-TR-301, 1984.)
func Jain(shares []float64) float64 {
	sum, squares := 0.0, 0.0
	for _, x := range shares {
		sum += x
		squares += x * x
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(shares)) * squares)
}
