import type { IdempotencyKeys, KeptAnswer } from '../../control-plane/core/idempotency.ts'

interface FakeKey {
  readonly fingerprint: string
  readonly holder: string
  answer?: KeptAnswer
}

/** Keys in memory, for tests of the http layer alone: holds never run out, and what was placed is not kept. */
export function createFakeKeys(): IdempotencyKeys & { readonly kept: Map<string, FakeKey> } {
  const kept = new Map<string, FakeKey>()
  return {
    kept,
    async hold({ hash, fingerprints: [fingerprint] }, holder) {
      const known = kept.get(hash)
      if (known === undefined) {
        kept.set(hash, { fingerprint, holder })
        return { state: 'held' }
      }
      if (known.fingerprint !== fingerprint) return { state: 'different' }
      // Through JSON, as over a database.
      return known.answer === undefined
        ? { state: 'waiting' }
        : { state: 'answered', answer: JSON.parse(JSON.stringify(known.answer)) }
    },
    renew: async () => {},
    async answer({ hash, holder }, answer) {
      const known = kept.get(hash)
      if (known?.holder === holder) known.answer = answer
    },
    async release({ hash, holder }) {
      if (kept.get(hash)?.holder === holder) kept.delete(hash)
    },
  }
}
