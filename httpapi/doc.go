// Package httpapi is the HTTP face of the engine: Tuco's API for programs, what staff and auditors ask, the operator's API on the
// admin socket, and what machines ask a server (health, metrics, its OpenAPI document).
//
// A request passes, in this order: the guard (what is no clean HTTP), who it is (401), what it may
// (403), whether its workspace takes writes (402), the request itself (400 and its like), limits (429).
// Handlers get copies of everything; only this package sees fiber.
package httpapi
