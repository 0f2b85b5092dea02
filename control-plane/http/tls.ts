import { readFileSync, statSync } from 'node:fs'
import type { RequestListener, ServerOptions } from 'node:http'
import { createServer, type Server } from 'node:https'
import type { SecureContextOptions } from 'node:tls'
import type { Logger } from '../../shared/logger.ts'

/** Certificates are replaced in place, by whoever renews them: new connections get the new one within this time. */
const RELOAD_MS = 5_000

/** PEM files. */
export interface TlsFiles {
  readonly cert: string
  readonly key: string
  /** The only authority whose client certificates count; absent: none is asked for. */
  readonly clientCa?: string | undefined
}

function pathsOf({ cert, key, clientCa }: TlsFiles): readonly string[] {
  return [cert, key, ...(clientCa === undefined ? [] : [clientCa])]
}

function contextOf({ cert, key, clientCa }: TlsFiles): SecureContextOptions {
  return {
    cert: readFileSync(cert),
    key: readFileSync(key),
    ...(clientCa === undefined ? {} : { ca: readFileSync(clientCa) }),
    minVersion: 'TLSv1.2',
  }
}

/** Changes when any of the files does. */
function versionOf(files: TlsFiles): string {
  return pathsOf(files)
    .map((path) => statSync(path).mtimeMs)
    .join()
}

/**
 * A listener over TLS. A client without a certificate, or with one that is not good, is let in: its request is then
 * refused with the status and the words of its dialect. @throws Error for files that cannot be read.
 */
export function createTlsServer(
  deps: { readonly files: TlsFiles; readonly options: ServerOptions; readonly logger: Logger },
  handler: RequestListener,
): Server {
  const { files, logger } = deps
  let version = versionOf(files)
  const asking = { requestCert: files.clientCa !== undefined, rejectUnauthorized: false }
  const server = createServer({ ...deps.options, ...contextOf(files), ...asking }, handler)

  const reloading = setInterval(() => {
    try {
      const found = versionOf(files)
      if (found === version) return
      server.setSecureContext(contextOf(files))
      version = found
      logger.info({ event: 'tls.reloaded' })
    } catch (error) {
      // Half-written, or a key that does not fit yet: the old one serves on, and the next round looks again.
      logger.warn({ event: 'tls.reload_failed', error: String(error) })
    }
  }, RELOAD_MS)
  reloading.unref()
  server.on('close', () => clearInterval(reloading))
  return server
}
