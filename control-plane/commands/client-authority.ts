import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { isIP } from 'node:net'
import { dirname, join } from 'node:path'
import { FleetError } from '../../shared/errors.ts'

/**
 * An authority of our own for the TLS listener and its clients, in one directory: certificates by openssl, whose files these are.
 * `ca.crt`, `server.crt` and `clients.crl` are for the control plane; `clients/NAME.crt` for whom it was issued to.
 */

const DIRECTORY_MODE = 0o700
const PRIVATE = { mode: 0o600, flag: 'wx' } as const
const TIMEOUT_MS = 30_000
/** Nobody renews these; a list that runs out would lock everybody out. */
const AUTHORITY_DAYS = 3_650
const SERIAL_BYTES = 16

const CONFIGURATION = 'openssl.cnf'
const SECTIONS = `[req]
distinguished_name = none
[none]
[ca]
default_ca = own
[own]
database = revoked.txt
default_md = sha256
crl_extensions = list
[list]
authorityKeyIdentifier = keyid:always
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[client]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = `

export interface ClientAuthority {
  readonly folder: string
  /** What `openssl` is found by. */
  readonly environment: NodeJS.ProcessEnv
}

export function filesOf({ folder }: Pick<ClientAuthority, 'folder'>) {
  return {
    authority: join(folder, 'ca.crt'),
    server: join(folder, 'server.crt'),
    serverKey: join(folder, 'server.key'),
    revoked: join(folder, 'clients.crl'),
    client: (name: string) => join(folder, 'clients', `${name}.crt`),
    clientKey: (name: string) => join(folder, 'clients', `${name}.key`),
  }
}

/** In the directory. @returns standard output. @throws unavailable when openssl is not installed. */
function openssl({ folder, environment }: ClientAuthority, args: readonly string[], input = ''): string {
  const env = { PATH: environment.PATH, LC_ALL: 'C', TZ: 'UTC' }
  const options = { cwd: folder, env, input, encoding: 'utf8', timeout: TIMEOUT_MS } as const
  try {
    return execFileSync('openssl', args, { ...options, stdio: ['pipe', 'pipe', 'pipe'] })
  } catch (cause) {
    const isMissing = cause instanceof Error && 'code' in cause && cause.code === 'ENOENT'
    if (isMissing) throw new FleetError('unavailable', 'openssl is not installed', { cause })
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : String(cause)
    throw new FleetError('internal', `openssl failed: ${said}`, { cause })
  }
}

/** Made by Node, so that it was never readable by others. */
function newKey(path: string): void {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  writeFileSync(path, privateKey.export({ type: 'pkcs8', format: 'pem' }), PRIVATE)
}

function sign(
  authority: ClientAuthority,
  asked: { readonly key: string; readonly subject: string; readonly section: string; readonly days: number },
): string {
  const config = ['-config', CONFIGURATION]
  const request = openssl(authority, ['req', '-new', ...config, '-key', asked.key, '-subj', `/CN=${asked.subject}`])
  const signer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-set_serial', `0x${newSerial()}`]
  const shape = ['-days', String(asked.days), '-extfile', CONFIGURATION, '-extensions', asked.section]
  return openssl(authority, ['x509', '-req', '-sha256', ...signer, ...shape], request)
}

/** Positive, as RFC 5280 wants it. */
function newSerial(): string {
  const bytes = randomBytes(SERIAL_BYTES)
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40
  return bytes.toString('hex')
}

/** The list of what is revoked, anew. */
function writeRevoked(authority: ClientAuthority): void {
  const signer = ['-config', CONFIGURATION, '-cert', 'ca.crt', '-keyfile', 'ca.key']
  const { revoked } = filesOf(authority)
  openssl(authority, ['ca', ...signer, '-gencrl', '-crldays', String(AUTHORITY_DAYS), '-out', `${revoked}.new`])
  renameSync(`${revoked}.new`, revoked)
}

function requireAuthority(authority: ClientAuthority): void {
  if (existsSync(filesOf(authority).revoked)) return
  throw new FleetError('not_found', `there is no authority in ${authority.folder}: make one first`)
}

/**
 * The directory appears whole; one that is there must be empty.
 * @param hosts names and addresses that the server's certificate is for.
 * @throws exists, unavailable.
 */
export function createAuthority({ folder, environment }: ClientAuthority, hosts: readonly string[]): void {
  if (existsSync(folder) && readdirSync(folder).length > 0) {
    throw new FleetError(
      'exists',
      `${folder} is not empty: an authority that clients have certificates of is not replaced`,
    )
  }
  mkdirSync(dirname(folder), { recursive: true, mode: DIRECTORY_MODE })
  const partial = mkdtempSync(`${folder}.partial-`)
  try {
    writeAuthority({ folder: partial, environment }, hosts)
    renameSync(partial, folder)
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}

function writeAuthority(authority: ClientAuthority, hosts: readonly string[]): void {
  const { folder } = authority
  const files = filesOf(authority)
  mkdirSync(join(folder, 'clients'), { mode: DIRECTORY_MODE })
  const names = hosts.map((host) => `${isIP(host) === 0 ? 'DNS' : 'IP'}:${host}`)
  writeFileSync(join(folder, CONFIGURATION), `${SECTIONS}${names.join(',')}\n`, PRIVATE)
  writeFileSync(join(folder, 'revoked.txt'), '', PRIVATE)
  newKey(join(folder, 'ca.key'))
  newKey(files.serverKey)
  const own = ['-x509', '-sha256', '-key', 'ca.key', '-subj', '/CN=Holdfast clients', '-days', String(AUTHORITY_DAYS)]
  const config = ['-config', CONFIGURATION, '-extensions', 'authority']
  writeFileSync(files.authority, openssl(authority, ['req', '-new', ...own, ...config]))
  const server = { key: 'server.key', subject: hosts[0] ?? 'localhost', section: 'server', days: AUTHORITY_DAYS }
  writeFileSync(files.server, sign(authority, server))
  writeRevoked(authority)
}

/** A certificate for one client. @throws exists, not_found (the authority), unavailable. */
export function issueCertificate(authority: ClientAuthority, name: string, days: number): void {
  requireAuthority(authority)
  const files = filesOf(authority)
  if (existsSync(files.client(name))) {
    throw new FleetError('exists', `'${name}' has a certificate already: revoke it first`)
  }
  // Of one that was never finished.
  rmSync(files.clientKey(name), { force: true })
  newKey(files.clientKey(name))
  writeFileSync(
    files.client(name),
    sign(authority, { key: files.clientKey(name), subject: name, section: 'client', days }),
  )
}

/** @throws not_found, unavailable. */
export function revokeCertificate(authority: ClientAuthority, name: string): void {
  requireAuthority(authority)
  const files = filesOf(authority)
  const certificate = files.client(name)
  if (!existsSync(certificate)) throw new FleetError('not_found', `'${name}' has no certificate of this authority`)
  const signer = ['-config', CONFIGURATION, '-cert', 'ca.crt', '-keyfile', 'ca.key']
  const serial = openssl(authority, ['x509', '-noout', '-serial', '-in', certificate]).trim().replace('serial=', '')
  // Once more, after a call that ended half-way, openssl would refuse it.
  const isListed = readFileSync(join(authority.folder, 'revoked.txt'), 'utf8').includes(`\t${serial}\t`)
  if (!isListed) openssl(authority, ['ca', ...signer, '-revoke', certificate])
  writeRevoked(authority)
  rmSync(files.clientKey(name), { force: true })
  rmSync(certificate)
}
