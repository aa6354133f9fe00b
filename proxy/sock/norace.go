//go:build !race

package sock

const plain = false
