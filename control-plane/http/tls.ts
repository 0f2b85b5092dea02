import { readFileSync, statSync } from 'node:fs'
import type { RequestListener, ServerOptions } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { SecureContextOptions, TLSSocket } from 'node:tls'
import { Counter, type Registry } from 'prom-client'
import type { Logger } from '../../shared/logger.ts'
import { certificateOf } from './certificate.ts'
import { createRevocations, listsOf } from './revocations.ts'

/** Certificates are replaced in place, by whoever renews them: new connections get the new one within this time. */
const RELOAD_MS = 5_000
/** Of refused handshakes: scanners would fill the log. */
const REFUSAL_LOG_MS = 1_000

/** PEM files. */
export interface TlsFiles {
  readonly cert: string
  readonly key: string
  /** The only authorities whose client certificates count; absent: none is asked for. */
  readonly clientCa?: string | undefined
  /** Their lists of what is revoked: one of each authority of a chain. One that is out of date lets nobody in. */
  readonly clientCrl?: string | undefined
  /** `optional`: a client without a certificate, or with a bad one, is let in, for its dialect to refuse it. Default: `required`. */
  readonly clients?: 'required' | 'optional' | undefined
}

function pathsOf({ cert, key, clientCa, clientCrl }: TlsFiles): readonly string[] {
  return [cert, key, clientCa, clientCrl].filter((path) => path !== undefined)
}

function read({ cert, key, clientCa, clientCrl }: TlsFiles) {
  const lists = clientCrl === undefined ? [] : listsOf(readFileSync(clientCrl, 'utf8'))
  const ca = clientCa === undefined ? undefined : readFileSync(clientCa, 'utf8')
  const context: SecureContextOptions = {
    cert: readFileSync(cert),
    key: readFileSync(key),
    ...(ca === undefined ? {} : { ca }),
    ...(lists.length === 0 ? {} : { crl: [...lists] }),
    minVersion: 'TLSv1.2',
  }
  return { context, ca, isRevoked: createRevocations(lists) }
}

/** Changes when any of the files does. */
function versionOf(files: TlsFiles): string {
  return pathsOf(files)
    .map((path) => statSync(path).mtimeMs)
    .join()
}

/** Tells operators why clients are not let in: at most one of them each second. All are counted. */
function createRefusalLog(logger: Logger, metrics: Registry) {
  const refused = new Counter({
    name: 'holdfast_tls_refused_total',
    help: 'Handshakes that came to nothing: no certificate that is good, no TLS that we speak, or clients that left',
    registers: [metrics],
  })
  let loggedAtMs = Number.NEGATIVE_INFINITY
  let unlogged = 0
  return (error: Error & { readonly code?: string }, socket: TLSSocket): void => {
    refused.inc()
    if (performance.now() - loggedAtMs < REFUSAL_LOG_MS) {
      unlogged += 1
      return
    }
    // as: Node sets its code there, and its types say an Error
    const reason = (socket.authorizationError as unknown as string | null) ?? error.code ?? error.message
    logger.info({ event: 'tls.refused', address: socket.remoteAddress, reason: String(reason), unlogged })
    loggedAtMs = performance.now()
    unlogged = 0
  }
}

/**
 * A listener over TLS. Where client certificates are required, a client without one that is good gets nothing: no handshake, no
 * HTTP. A connection whose certificate is revoked or has run out ends. @throws Error for files that cannot be read.
 */
export function createTlsServer(
  deps: {
    readonly files: TlsFiles
    readonly options: ServerOptions
    readonly logger: Logger
    readonly metrics: Registry
  },
  handler: RequestListener,
): Server {
  const { files, logger, metrics } = deps
  const isRequired = files.clientCa !== undefined && files.clients !== 'optional'
  let version = versionOf(files)
  const first = read(files)
  let authorities = first.ca
  const asking = { requestCert: files.clientCa !== undefined, rejectUnauthorized: isRequired }
  const server = createServer({ ...deps.options, ...first.context, ...asking }, (request, response) => {
    // Good when the connection began: it has run out since.
    if (isRequired && certificateOf(request.socket) === 'bad') return void request.socket.destroy()
    handler(request, response)
  })
  server.on('tlsClientError', createRefusalLog(logger, metrics))
  const open = new Set<TLSSocket>()
  server.on('secureConnection', (socket) => {
    open.add(socket)
    socket.on('close', () => open.delete(socket))
  })

  function reload(): void {
    const found = versionOf(files)
    if (found === version) return
    const { context, ca, isRevoked } = read(files)
    server.setSecureContext(context)
    // Of an authority that is named no more perhaps: whose is good connects anew.
    const isOutdated = ca !== authorities
    version = found
    authorities = ca
    for (const socket of open) {
      const certificate = socket.getPeerX509Certificate()
      if (certificate && (isOutdated || isRevoked(certificate))) socket.destroy()
    }
    logger.info({ event: 'tls.reloaded' })
  }

  const reloading = setInterval(() => {
    try {
      reload()
    } catch (error) {
      // Half-written, or a key that does not fit yet: the old one serves on, and the next round looks again.
      logger.warn({ event: 'tls.reload_failed', error: String(error) })
    }
  }, RELOAD_MS)
  reloading.unref()
  server.on('close', () => clearInterval(reloading))
  return server
}
