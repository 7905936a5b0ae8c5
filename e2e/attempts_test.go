package e2e

// attemptsOf answers the attempts of a delivery as get_delivery shows it.
func attemptsOf(delivery object) []object {
	var attempts []object
	for _, a := range arr(delivery, "attempts") {
		attempts = append(attempts, asObject(a))
	}
	return attempts
}
