import { createHash } from 'node:crypto'
import { type DataSource, IsNull, MoreThan } from 'typeorm'
import { FleetError } from '../../../shared/errors.ts'
import { newId } from '../../../shared/ids.ts'
import { type Caller, fleetCaller, type Role } from '../../core/caller.ts'
import { TokenEntity } from '../entities/token.ts'

/** How long a replica trusts what it read about a token; a revocation takes effect within this time everywhere. */
const CACHE_MS = 1_000
const CACHE_TOKENS = 10_000

export interface TokenStore {
  /** The caller a secret stands for, or undefined when it is unknown or expired. */
  find(secret: string): Promise<Caller | undefined>
  /** Makes `name`'s secret be exactly this one. */
  ensure(token: { readonly name: string; readonly secret: string; readonly role: Role }): Promise<void>
}

export function createTokenStore(db: DataSource, now: () => number = Date.now): TokenStore {
  const tokens = db.getRepository(TokenEntity)
  const cache = new Map<string, { readonly caller: Caller | undefined; readonly untilMs: number }>()

  async function read(hash: Buffer): Promise<Caller | undefined> {
    const valid = { hash, expiresAt: MoreThan(new Date(now())) }
    const row = await tokens.findOne({ where: [valid, { hash, expiresAt: IsNull() }] }).catch((cause: unknown) => {
      throw new FleetError('unavailable', 'the database cannot be reached', { cause })
    })
    return row ? fleetCaller({ subject: `token:${row.name}`, role: row.role, via: 'token' }) : undefined
  }

  return {
    async find(secret) {
      // Looked up by its hash, so no comparison of secrets takes a time that depends on them.
      const hash = createHash('sha256').update(secret).digest()
      const key = hash.toString('base64')
      const cached = cache.get(key)
      if (cached && cached.untilMs > now()) return cached.caller
      const caller = await read(hash)
      if (cache.size >= CACHE_TOKENS) cache.clear()
      cache.set(key, { caller, untilMs: now() + CACHE_MS })
      return caller
    },

    async ensure({ name, secret, role }) {
      const hash = createHash('sha256').update(secret).digest()
      const values = { id: newId(), groupId: null, userId: null, name, hash, role, expiresAt: null }
      await tokens
        .createQueryBuilder()
        .insert()
        .values(values)
        .orUpdate(['hash', 'role', 'expires_at'], ['user_id', 'group_id', 'name'])
        .execute()
    },
  }
}
