// The file lets poll.go declare a function that the runtime defines.
