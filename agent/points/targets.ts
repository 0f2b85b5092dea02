import { createHash } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { OrderTarget } from '../../shared/point-spec.ts'
import { type SftpTargetConfig, TargetSecret } from '../../shared/target-config.ts'
import type { TransferContext } from '../transfer/open-target.ts'
import type { Target } from '../transfer/transfer.ts'
import type { TargetLease, TargetRequest } from './point-tools.ts'

/** Kept open without being used, so long and so many: connections are dear to make. */
const IDLE_MS = 60_000
const MAX_IDLE = 8

/** Opens what a control plane sealed for this host. @throws Error when it was sealed for another, or for another end */
export type Unseal = (sealed: Buffer, context: string) => Buffer

/** The targets that this agent uses now: one a configuration, because slots and limits count for each that is opened. */
export interface Targets extends AsyncDisposable {
  lease(request: TargetRequest): Promise<TargetLease>
  /** First contact with an SFTP server; nothing that is secret is sent. */
  readHostKey(config: SftpTargetConfig, signal: AbortSignal): Promise<string>
}

interface Opened {
  readonly opening: Promise<Target>
  leases: number
  timer: NodeJS.Timeout | undefined
}

/** @param deps.unseal undefined for a host that has no key of its own */
export function createTargets(deps: {
  readonly context: TransferContext
  readonly unseal: Unseal | undefined
  readonly idleMs?: number
}): Targets {
  const { context, unseal, idleMs = IDLE_MS } = deps
  const opened = new Map<string, Opened>()

  async function close(key: string, entry: Opened): Promise<void> {
    clearTimeout(entry.timer)
    if (opened.get(key) === entry) opened.delete(key)
    const target = await entry.opening.catch(() => undefined)
    await target?.[Symbol.asyncDispose]()
  }

  function giveBack(key: string, entry: Opened): void {
    entry.leases -= 1
    if (entry.leases > 0) return
    // The last used stands last.
    if (opened.delete(key)) opened.set(key, entry)
    entry.timer = setTimeout(() => void close(key, entry).catch(() => undefined), idleMs)
    entry.timer.unref()
    const idle = [...opened].filter(([, { leases }]) => leases === 0)
    for (const [oldKey, old] of idle.slice(0, -MAX_IDLE)) void close(oldKey, old).catch(() => undefined)
  }

  function take(key: string, open: () => Promise<Target>): Opened {
    const entry: Opened = opened.get(key) ?? { opening: open(), leases: 0, timer: undefined }
    clearTimeout(entry.timer)
    entry.leases += 1
    opened.set(key, entry)
    return entry
  }

  return {
    async lease({ target, sealed, context: end }) {
      const secret = openSecret({ sealed, end, unseal })
      const key = keyOf(target, secret)
      const entry = take(key, async () => {
        const { openTarget } = await import('../transfer/open-target.ts')
        return openTarget(target.config, secret, context)
      })
      try {
        return leaseOf({ target: await entry.opening, key }, secret, () => giveBack(key, entry))
      } catch (error) {
        if (opened.get(key) === entry) opened.delete(key)
        throw error
      }
    },

    async readHostKey(config, signal) {
      const { readHostKey } = await import('../transfer/open-target.ts')
      return readHostKey(config, context, signal)
    },

    async [Symbol.asyncDispose]() {
      await Promise.allSettled([...opened].map(([key, entry]) => close(key, entry)))
    },
  }
}

function leaseOf(opened: Pick<TargetLease, 'target' | 'key'>, secret: TargetSecret, giveBack: () => void): TargetLease {
  let isHeld = true
  return {
    ...opened,
    identities: secret.identity === undefined ? [] : [secret.identity],
    async [Symbol.asyncDispose]() {
      if (isHeld) giveBack()
      isHeld = false
    },
  }
}

function openSecret(box: {
  readonly sealed: string | undefined
  readonly end: string
  readonly unseal: Unseal | undefined
}): TargetSecret {
  if (box.sealed === undefined) return {}
  if (box.unseal === undefined)
    throw new FleetError('refused', 'this host has no key of its own, so it can be sent no secret: enrol it')
  try {
    return TargetSecret.parse(JSON.parse(box.unseal(Buffer.from(box.sealed, 'base64'), box.end).toString()))
  } catch {
    // Without the cause: it may quote what was inside.
    throw new FleetError('refused', "the target's secret was not sealed for this host and this use")
  }
}

function keyOf({ id, config }: OrderTarget, secret: TargetSecret): string {
  return createHash('sha256')
    .update(JSON.stringify([id, config, secret]))
    .digest('base64url')
}
