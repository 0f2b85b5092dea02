import { setTimeout as delay } from 'node:timers/promises'
import { type Msg, type NatsConnection, nkeys } from 'nats'
import type { Logger } from '../../shared/logger.ts'
import { CredentialAnswer, type CredentialRequest, RotateRequest, WIRE_VERSION } from '../../shared/wire/messages.ts'
import { subjects } from '../../shared/wire/subjects.ts'
import type { RenewableKey } from './identity.ts'

const ASK_TIMEOUT_MS = 5_000
const RETRY_MS = 2_000
const CHECK_MAX_MS = 3_600_000
/** Checks in one life of a credential. */
const CHECKS = 60
/** What is left of a life when the next one is asked for. */
const LEFT = 1 / 3

/**
 * Keeps this host's credentials fresh: asks for a new key when a third of the old one's life is left or when told to,
 * connects by it, and says so; then the control plane revokes the old one.
 */
export interface Renewal {
  stop(): void
}

export function startRenewal(deps: {
  readonly nats: NatsConnection
  readonly host: string
  readonly key: RenewableKey
  readonly logger: Logger
}): Renewal {
  const { nats, host, key, logger } = deps
  const stopping = new AbortController()
  let isChanging = false

  /** @throws when nobody answers: the control plane is away, or does not know this key. */
  async function ask(next: string | null): Promise<string | null> {
    const question: CredentialRequest = { v: WIRE_VERSION, next }
    const subject = subjects.credential(host, key.publicKey())
    const reply = await nats.request(subject, JSON.stringify(question), { timeout: ASK_TIMEOUT_MS })
    return CredentialAnswer.parse(reply.json()).jwt
  }

  /** Tells which key is in use, until it is heard. */
  async function announce(): Promise<void> {
    for (;;) {
      try {
        await ask(null)
        return
      } catch (error) {
        logger.debug({ event: 'host.key_unheard', error: String(error) })
        await delay(RETRY_MS, undefined, { signal: stopping.signal })
      }
    }
  }

  /** Resolves when the new connection stands: on the old one the server would not let the new key speak. */
  async function reconnected(): Promise<void> {
    const statuses = nats.status()
    await nats.reconnect()
    for await (const { type } of statuses) if (type === 'reconnect') return
  }

  async function change(): Promise<void> {
    const next = nkeys.createUser()
    const jwt = await ask(next.getPublicKey())
    if (jwt === null) throw new Error('the answer holds no credential')
    key.change({ jwt, seed: next.getSeed() })
    await reconnected()
    logger.info({ event: 'host.key_changed', publicKey: key.publicKey() })
    await announce()
  }

  function renew(): void {
    if (isChanging) return
    isChanging = true
    change()
      .catch((error: unknown) => {
        if (!stopping.signal.aborted) logger.warn({ event: 'host.renewal_failed', error: String(error) })
      })
      .finally(() => {
        isChanging = false
      })
  }

  function isDue(): boolean {
    const { fromMs, untilMs } = key.life()
    return Date.now() >= untilMs - (untilMs - fromMs) * LEFT
  }

  const { fromMs, untilMs } = key.life()
  const timer = setInterval(() => isDue() && renew(), Math.min(CHECK_MAX_MS, (untilMs - fromMs) / CHECKS))
  const subscription = nats.subscribe(subjects.rotate(host), {
    callback(error, message) {
      if (error) return logger.warn({ event: 'host.rotation_failed', error: String(error) })
      if (!isRotation(message)) return logger.warn({ event: 'host.rotation_unreadable' })
      message.respond('')
      renew()
    },
  })
  announce().catch(() => undefined)

  return {
    stop() {
      stopping.abort()
      clearInterval(timer)
      subscription.unsubscribe()
    },
  }
}

function isRotation(message: Msg): boolean {
  try {
    return RotateRequest.safeParse(message.json()).success
  } catch {
    return false
  }
}
