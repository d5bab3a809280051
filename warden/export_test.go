package warden

// Settle returns when the pool has done what it does beside its callers.
func (p *Pool) Settle() {
	p.spares.work.Wait()
	p.removing.Wait()
}
