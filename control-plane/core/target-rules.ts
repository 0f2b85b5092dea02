import { z } from 'zod'
import { AgeIdentity, AgeRecipient, identityKey, recipientKey } from '../../shared/age-keys.ts'
import { FleetError } from '../../shared/errors.ts'
import { publicKeyOf } from '../../shared/sealed-box.ts'
import { TargetConfig, TargetSecret } from '../../shared/target-config.ts'
import { checkKept } from './check-request.ts'

const RECIPIENTS_MAX = 20
const DESCRIPTION_MAX = 1_000

const Asked = z.object({
  config: TargetConfig.superRefine((config, context) => {
    const wrong = (path: readonly string[], message: string) =>
      context.addIssue({ code: 'custom', path: [...path], message })
    // Below a backup root each group has a directory of its own, and a base would lead into the others'.
    if (config.protocol === 'local') wrong(['protocol'], 'needs no target: leave it out to keep points on their host')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is refused
    if (/[\u0000-\u001f\u007f]/.test(config.name)) wrong(['name'], 'must not hold control characters')
    if (!isTimezone(config.limits.timezone)) wrong(['limits', 'timezone'], 'is not a time zone')
  }),
  description: z.string().max(DESCRIPTION_MAX),
  recipients: z.array(AgeRecipient).max(RECIPIENTS_MAX),
  secret: TargetSecret.extend({ identity: AgeIdentity.or(z.literal('')).optional() }),
})

/** @throws invalid, naming the field; no message repeats a secret. */
export function checkTarget(asked: z.input<typeof Asked> | Record<keyof typeof Asked.shape, unknown>) {
  return checkKept(Asked, asked)
}

/** @throws invalid when the identity opens nothing that is encrypted for `recipients`. */
export function checkKeys(recipients: readonly string[], { identity }: TargetSecret): void {
  if (identity === undefined || identity === '' || recipients.length === 0) return
  const own = publicKeyOf(identityKey(identity))
  if (recipients.some((recipient) => recipientKey(recipient).equals(own))) return
  throw new FleetError('invalid', 'secret.identity: opens nothing that is encrypted for these recipients', {
    field: 'secret.identity',
  })
}

/**
 * A whole config: `changes` over what there is; an undefined member goes. The host key of an SFTP server is none of another one's, so it
 * goes with the host and the port.
 */
export function mergeConfig(current: TargetConfig, changes: Readonly<Record<string, unknown>>): unknown {
  const merged: Record<string, unknown> = { ...current, ...changes }
  if (current.protocol !== 'sftp' || 'hostKey' in changes) return merged
  const server = { host: String(merged.host), port: Number(merged.port) }
  return isSameServer(server, current) ? merged : { ...merged, hostKey: undefined }
}

/** What is absent stays, `''` goes. */
export function mergeSecret(before: TargetSecret, change: TargetSecret): TargetSecret {
  const merged = { ...before, ...change }
  return Object.fromEntries(Object.entries(merged).filter(([, value]) => value !== undefined && value !== ''))
}

/** What a server is shown at login; the age identity stays with agents, and a passphrase opens a key there. */
const SHOWN = ['password', 'privateKey'] as const

/**
 * A secret was given for one server. Whoever may change a target cannot read it, so it does not follow to another one, nor onto a line
 * that others can read: it must be given again, or taken away. @throws invalid
 */
export function requireOwnSecret(
  from: { readonly config: TargetConfig; readonly secret: TargetSecret },
  to: { readonly config: TargetConfig; readonly secret: TargetSecret },
): void {
  if (!leadsElsewhere(from.config, to.config)) return
  for (const member of SHOWN) {
    if (from.secret[member] === undefined || to.secret[member] !== undefined) continue
    const field = `secret.${member}`
    const message = `${field}: must be given again, as the target leads to another server or loses its encryption`
    throw new FleetError('invalid', message, { field })
  }
}

function leadsElsewhere(from: TargetConfig, to: TargetConfig): boolean {
  if (from.protocol === 'local' || from.protocol !== to.protocol) return true
  if (!isSameServer(from, to)) return true
  return 'encrypt' in from && from.encrypt && 'encrypt' in to && !to.encrypt
}

interface Server {
  readonly host: string
  readonly port: number
}

export function isSameServer(a: Server, b: Server): boolean {
  return a.host.toLowerCase() === b.host.toLowerCase() && a.port === b.port
}

function isTimezone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name })
    return true
  } catch {
    return false
  }
}
