// Package parley says which version of the contract's stubs this is; they are in parley/v1.
package parley

// Version is that of this module, and of the server that it was generated beside.
const Version = "0.1.1"
