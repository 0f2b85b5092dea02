import { randomBytes } from 'node:crypto'
import { FleetError } from '../../shared/errors.ts'
import type { TargetConfig, TargetSecret } from '../../shared/target-config.ts'
import { type Clock, systemClock } from './clock.ts'
import { createDialer, type Dialer, type DialPolicy } from './dial.ts'
import { LimitedTarget } from './limited-target.ts'
import type { RetryPolicy } from './retry.ts'
import type { Store, Target } from './transfer.ts'
import { asTransferError } from './transfer-error.ts'

export interface TransferContext {
  /** Absolute, there already; `base` of a local target lies below it. */
  readonly backupRoot: string
  /** Asked before the backup root is opened. @throws FleetError when it must not be used */
  readonly guardBackupRoot?: () => void
  readonly addresses: DialPolicy
  readonly clock?: Clock
  readonly retries?: Partial<RetryPolicy>
  /** Without a byte for so long, a connection is given up. */
  readonly stallMs?: number
  /** Tests pass one with a resolver of their own. */
  readonly dialer?: Dialer
}

const RETRIES = { attempts: 5, baseMs: 500, maxMs: 15_000 }
const TOKEN_BYTES = 8

/**
 * Opens a target; nothing is sent before it is used, and a protocol's library is loaded only now.
 * @throws FleetError `invalid` when the configuration lacks something (a host key, a password)
 */
export async function openTarget(
  config: TargetConfig,
  secret: TargetSecret,
  context: TransferContext,
): Promise<Target> {
  const clock = context.clock ?? systemClock
  const policy: RetryPolicy = { ...RETRIES, clock, random: Math.random, ...context.retries }
  const parts: StoreParts = {
    dialer: context.dialer ?? createDialer(context.addresses),
    policy,
    backupRoot: context.backupRoot,
    guardBackupRoot: context.guardBackupRoot,
    stallMs: context.stallMs,
  }
  try {
    const store = await openStore(config, secret, parts)
    const newToken = () => randomBytes(TOKEN_BYTES).toString('hex')
    return new LimitedTarget({ store, config, policy, clock, newToken })
  } catch (error) {
    throw asTransferError(error, config.name)
  }
}

interface StoreParts {
  readonly dialer: Dialer
  readonly policy: RetryPolicy
  readonly backupRoot: string
  readonly guardBackupRoot: (() => void) | undefined
  readonly stallMs: number | undefined
}

/** The registry: one line a protocol. */
async function openStore(config: TargetConfig, secret: TargetSecret, parts: StoreParts): Promise<Store> {
  switch (config.protocol) {
    case 'local':
      parts.guardBackupRoot?.()
      return (await import('./local/local-store.ts')).openLocalStore({ root: parts.backupRoot, base: config.base })
    case 'webdav':
      return (await import('./webdav/webdav-store.ts')).openWebdavStore(config, secret, parts)
    case 'sftp':
      return (await import('./sftp/sftp-store.ts')).openSftpStore(config, secret, parts)
    case 's3':
      return (await import('./s3/s3-store.ts')).openS3Store(config, secret, parts)
  }
}

/**
 * First contact with an SFTP server: what its `hostKey` should be pinned to, once a person has agreed to it. Nothing that is secret is
 * sent. @throws FleetError
 */
export async function readHostKey(
  config: Extract<TargetConfig, { protocol: 'sftp' }>,
  context: TransferContext,
  signal: AbortSignal,
): Promise<string> {
  const dialer = context.dialer ?? createDialer(context.addresses)
  try {
    return await (await import('./sftp/sftp-connection.ts')).readHostKey(config, dialer, signal)
  } catch (error) {
    throw signal.aborted ? new FleetError('cancelled', 'cancelled') : asTransferError(error, config.name)
  }
}
