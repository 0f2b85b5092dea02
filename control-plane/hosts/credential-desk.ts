import type { Msg, NatsConnection } from 'nats'
import { FleetError } from '../../shared/errors.ts'
import type { Logger } from '../../shared/logger.ts'
import {
  type CredentialAnswer,
  CredentialRequest,
  type RotateRequest,
  WIRE_VERSION,
} from '../../shared/wire/messages.ts'
import { hostOfSubject, keyOfSubject, subjects } from '../../shared/wire/subjects.ts'
import type { CredentialIssuer } from '../core/enrolments.ts'
import type { CredentialKeys } from '../db/stores/credential-keys-store.ts'
import { answerAgent } from './answer-agent.ts'

const QUEUE = 'control-plane'
const ROTATE_TIMEOUT_MS = 4_000

/** Where agents ask for the credential of their next key, and tell which key they use. */
export interface CredentialDesk {
  askToRotate(host: string): Promise<void>
  stop(): void
}

/**
 *   agent, with K1:  credential.<host>.K1 {next: K2}  → {jwt of K2}
 *   agent, with K2:  credential.<host>.K2 {next: null} → K1 is revoked
 *
 * NATS lets an agent speak only on the subject of the key it is connected by, so the second message proves that K2 works.
 */
export function openCredentialDesk(deps: {
  readonly nats: NatsConnection
  readonly issuer: Pick<CredentialIssuer, 'agentCredential' | 'nextExpiry' | 'enforce'>
  readonly keys: CredentialKeys
  readonly onChanged: (host: string) => void
  readonly logger: Logger
}): CredentialDesk {
  const { nats, issuer, keys, logger } = deps

  async function onRequest(message: Msg): Promise<void> {
    const host = hostOfSubject(message.subject)
    const publicKey = keyOfSubject(message.subject)
    const { next } = CredentialRequest.parse(message.json())
    const { known, revoked } = await keys.used(host, publicKey)
    // Silence, as to anybody whose credentials are over.
    if (!known) return
    if (revoked > 0) {
      logger.info({ event: 'host.credential_replaced', host, publicKey, revoked })
      await issuer.enforce()
      deps.onChanged(host)
    }
    const answer: CredentialAnswer = { v: WIRE_VERSION, jwt: next && (await issueNext({ host, publicKey, next })) }
    answerAgent(message, host, answer)
  }

  async function issueNext(key: { readonly host: string; readonly publicKey: string; readonly next: string }) {
    const expiresAt = issuer.nextExpiry()
    if (!(await keys.addNext({ ...key, expiresAt }))) throw new FleetError('refused', 'the next key cannot be used')
    logger.info({ event: 'host.credential_issued', host: key.host, publicKey: key.next })
    return issuer.agentCredential({ host: key.host, publicKey: key.next, expiresAt })
  }

  const subscription = nats.subscribe(subjects.allCredentials, {
    queue: QUEUE,
    callback(error, message) {
      const complain = (cause: unknown) =>
        logger.warn({ event: 'host.credential_failed', host: hostOfSubject(message.subject), error: String(cause) })
      if (error) complain(error)
      else onRequest(message).catch(complain)
    },
  })

  return {
    async askToRotate(host) {
      const request: RotateRequest = { v: WIRE_VERSION, rotate: true }
      await nats
        .request(subjects.rotate(host), JSON.stringify(request), { timeout: ROTATE_TIMEOUT_MS })
        .catch((cause: unknown) => {
          throw new FleetError('unavailable', `host '${host}' is offline`, { cause })
        })
    },
    stop: () => subscription.unsubscribe(),
  }
}
