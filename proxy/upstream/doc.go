// Package upstream speaks HTTP/1.1 to providers: connection pools, TLS, waiting
// with many short deadlines, strict response framing. It knows nothing of models,
// money or customers.
//
// It is not fasthttp's HostClient because three things must be ours: a wait that
// can look after the client while an upstream is silent (see Waiter), a request
// that goes out as one write, and a pool without a lock that all requests share.
package upstream
