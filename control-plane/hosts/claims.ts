import type { NatsConnection } from 'nats'
import { z } from 'zod'
import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import type { CredentialKeys, RevokedKey } from '../db/stores/credential-keys-store.ts'
import type { Authority, Revocations } from './authority.ts'

const TIMEOUT_MS = 2_000
/** Claims hold every revoked key that could still be shown; a server takes no larger message. */
const CLAIMS_MAX_BYTES = 1024 * 1024

const UpdateAnswer = z.object({
  data: z.looseObject({ code: z.number() }).optional(),
  error: z.looseObject({ description: z.string().optional() }).optional(),
})

/** The fleet's account as NATS has it: it follows what Postgres says was revoked. */
export interface Claims {
  /** Replaces them; resolves when a server has taken them, which ends live connections of revoked keys. @throws unavailable. */
  push(): Promise<void>
  /** Replaces them if a server lost some: it may have come back with an old disk. Never throws. */
  check(): Promise<void>
}

export function createClaims(deps: {
  /** Of the system user. */
  readonly nats: NatsConnection
  readonly authority: Authority
  readonly keys: CredentialKeys
  readonly logger: Logger
}): Claims {
  const { nats, authority, keys, logger } = deps

  async function push(): Promise<void> {
    // One replica at a time: claims are replaced as a whole.
    await keys.withRevocations(async (revoked) => {
      const claims = await authority.accountClaims(revocationsOf(revoked))
      if (claims.length >= CLAIMS_MAX_BYTES) logger.error({ event: 'nats.claims_too_large', revoked: revoked.length })
      const reply = await nats
        .request(authority.updateSubject, claims, { timeout: TIMEOUT_MS })
        .catch((cause: unknown) => {
          throw new FleetError('unavailable', 'NATS did not take the revocation yet', { cause })
        })
      const answer = UpdateAnswer.parse(reply.json())
      if (answer.error || answer.data?.code !== 200) {
        throw new FleetError('internal', 'NATS refused the claims', {
          detail: answer.error?.description ?? reply.string(),
        })
      }
      logger.info({ event: 'nats.claims_pushed', revoked: revoked.length })
    })
  }

  async function isCurrent(): Promise<boolean> {
    const wanted = revocationsOf(await keys.revocations())
    const reply = await nats.request(authority.lookupSubject, '', { timeout: TIMEOUT_MS })
    const there = authority.revocationsIn(reply.string())
    return Object.entries(wanted).every(([key, until]) => there[key] === until)
  }

  return {
    push,
    async check() {
      try {
        if (!(await isCurrent())) await push()
      } catch (error) {
        const detail = error instanceof FleetError ? error.detail : undefined
        logger.warn({ event: 'nats.claims_unchecked', error: String(error), detail })
      }
    },
  }
}

/** All that a key was ever issued ends by then, so all of it is turned away. */
function revocationsOf(revoked: readonly RevokedKey[]): Revocations {
  return Object.fromEntries(
    revoked.map(({ publicKey, expiresAt }) => [publicKey, Math.ceil(expiresAt.getTime() / 1000)]),
  )
}
