package ostree

// SetMaxNodes makes commits small until the function it returns is called.
func SetMaxNodes(n int) func() {
	old := maxNodes
	maxNodes = n
	return func() { maxNodes = old }
}
