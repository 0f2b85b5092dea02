import { createHash, timingSafeEqual } from 'node:crypto'
import type { Socket } from 'node:net'
import ssh2, { type Client, type ConnectConfig, type ServerHostKeyAlgorithm, type SFTPWrapper } from 'ssh2'
import { FleetError } from '../../../shared/errors.ts'
import type { SftpTargetConfig, TargetSecret } from '../../../shared/target-config.ts'
import type { Dialer } from '../dial.ts'
import { patiently } from '../patience.ts'
import { gatheringWrites } from './gathered-writes.ts'
import { asSftpError } from './sftp-error.ts'

const LOGIN_MS = 15_000
const KEEPALIVE_MS = 10_000
const KEEPALIVE_COUNT = 3
/** The strongest first; what OpenSSH 9 offers and Node's OpenSSL does in hardware. */
const CIPHERS = ['aes128-gcm@openssh.com', 'aes256-gcm@openssh.com', 'aes128-ctr', 'aes256-ctr'] as const
/** A key of one type is pinned; an RSA key signs with any of these. */
const ALGORITHMS: Readonly<Record<string, readonly ServerHostKeyAlgorithm[]>> = {
  'ssh-ed25519': ['ssh-ed25519'],
  'ecdsa-sha2-nistp256': ['ecdsa-sha2-nistp256'],
  'ecdsa-sha2-nistp384': ['ecdsa-sha2-nistp384'],
  'ecdsa-sha2-nistp521': ['ecdsa-sha2-nistp521'],
  'ssh-rsa': ['rsa-sha2-512', 'rsa-sha2-256'],
}

/** A session that was logged in. `broken` resolves when it is of no more use. */
export interface SftpSession {
  readonly sftp: SFTPWrapper
  readonly broken: Promise<void>
  end(): void
}

type Place = Pick<SftpTargetConfig, 'host' | 'port' | 'username' | 'hostKey'>

/** @throws FleetError `refused` for another host key than the pinned one, before anything secret is sent */
export async function connectSftp(
  config: Place,
  secret: TargetSecret,
  parts: { readonly dialer: Dialer; readonly signal: AbortSignal },
): Promise<SftpSession> {
  const { hostKey } = config
  if (hostKey === undefined) throw new FleetError('invalid', 'has no host key to trust', { field: 'host_key' })
  const socket = await parts.dialer.dial(config, parts.signal)
  const client = new ssh2.Client()
  const changed = new FleetError('refused', 'shows another host key than the one that is trusted')
  let known = true
  const verify = (key: Buffer) => {
    known = sameText(fingerprintOf(key), hostKey)
    return known
  }
  try {
    const options = { ...loginOf(config, secret), algorithms: algorithmsFor(hostKey), hostVerifier: verify }
    await handshake(client, { ...options, sock: gatheringWrites(socket) }, parts.signal)
    const sftp = await openChannel(client, parts.signal)
    return { sftp, broken: new Promise((resolve) => client.once('close', resolve)), end: () => void client.destroy() }
  } catch (error) {
    client.on('error', () => undefined)
    client.destroy()
    socket.destroy()
    throw known ? asSftpError(error) : changed
  }
}

/** Shakes hands with a server only to learn its key, and leaves before logging in. */
export async function readHostKey(config: Place, dialer: Dialer, signal: AbortSignal): Promise<string> {
  const socket = await dialer.dial(config, signal)
  const client = new ssh2.Client()
  let seen: string | undefined
  const hostVerifier = (key: Buffer) => {
    seen = fingerprintOf(key)
    return false
  }
  try {
    const serverHostKey = Object.values(ALGORITHMS).flat()
    const options = { username: config.username, algorithms: { serverHostKey }, hostVerifier }
    await handshake(client, { ...options, sock: socket }, signal)
  } catch (error) {
    if (seen === undefined) throw asSftpError(error)
  } finally {
    client.on('error', () => undefined)
    client.destroy()
    socket.destroy()
  }
  if (seen === undefined) throw new FleetError('unavailable', 'shows no host key')
  return seen
}

/** `ssh-ed25519 SHA256:…`, as `ssh-keygen -l` spells the second part. @param key as it is on the wire (RFC 4253 §6.6) */
function fingerprintOf(key: Buffer): string {
  const type = key.subarray(4, 4 + key.readUInt32BE(0)).toString('latin1')
  return `${type} SHA256:${createHash('sha256').update(key).digest('base64').replace(/=+$/, '')}`
}

function sameText(left: string, right: string): boolean {
  return left.length === right.length && timingSafeEqual(Buffer.from(left), Buffer.from(right))
}

function algorithmsFor(hostKey: string): NonNullable<ConnectConfig['algorithms']> {
  const serverHostKey = ALGORITHMS[hostKey.split(' ')[0] ?? '']
  if (serverHostKey === undefined)
    throw new FleetError('invalid', 'has a host key of an unknown type', { field: 'host_key' })
  return { serverHostKey: [...serverHostKey], cipher: [...CIPHERS], compress: ['none'] }
}

function loginOf(config: Place, secret: TargetSecret): ConnectConfig {
  const { password, privateKey, passphrase } = secret
  if (privateKey === undefined && password === undefined)
    throw new FleetError('invalid', 'has neither password nor private key', { field: 'password' })
  if (privateKey !== undefined && ssh2.utils.parseKey(privateKey, passphrase) instanceof Error)
    throw new FleetError('invalid', 'has a private key that cannot be read', { field: 'private_key' })
  return {
    username: config.username,
    ...(password === undefined ? {} : { password }),
    ...(privateKey === undefined ? {} : { privateKey }),
    ...(passphrase === undefined ? {} : { passphrase }),
    readyTimeout: LOGIN_MS,
    keepaliveInterval: KEEPALIVE_MS,
    keepaliveCountMax: KEEPALIVE_COUNT,
  }
}

function handshake(client: Client, options: ConnectConfig & { readonly sock: Socket }, signal: AbortSignal) {
  const ready = new Promise<void>((resolve, reject) => {
    client.once('ready', resolve)
    client.once('error', reject)
    client.once('close', () => reject(new FleetError('unavailable', 'cut the connection')))
    client.connect(options)
  })
  return patiently(ready, { signal, stallMs: LOGIN_MS, giveUp: () => void client.destroy() })
}

function openChannel(client: Client, signal: AbortSignal): Promise<SFTPWrapper> {
  client.on('error', () => undefined) // every request that is under way is told by ssh2 itself
  const opened = new Promise<SFTPWrapper>((resolve, reject) => {
    client.once('close', () => reject(new FleetError('unavailable', 'cut the connection')))
    client.sftp((error, sftp) => (error ? reject(error) : resolve(sftp)))
  })
  return patiently(opened, { signal, stallMs: LOGIN_MS, giveUp: () => void client.destroy() })
}
