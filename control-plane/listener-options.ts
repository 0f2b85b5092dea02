import { ConfigError } from '../shared/config.ts'
import type { ControlPlaneConfig } from './config.ts'
import { parseRange, parseTrustedNetworks } from './http/networks.ts'
import type { CertificateHeader } from './http/proxied-certificate.ts'
import type { TlsFiles } from './http/tls.ts'

function wordsOf(list: string): readonly string[] {
  return list
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

/** @throws ConfigError naming the setting. */
function read<Value>(name: keyof ControlPlaneConfig, parse: () => Value): Value {
  try {
    return parse()
  } catch (error) {
    throw new ConfigError(`${name}: ${error instanceof Error ? error.message : error}`)
  }
}

function tlsFiles(config: ControlPlaneConfig): TlsFiles | undefined {
  const { HOLDFAST_TLS_CERT_FILE: cert, HOLDFAST_TLS_KEY_FILE: key, HOLDFAST_CLIENT_CA_FILE: clientCa } = config
  const { HOLDFAST_CLIENT_CRL_FILE: clientCrl, HOLDFAST_CLIENT_CERTIFICATES: clients } = config
  if (clientCrl !== undefined && clientCa === undefined) {
    throw new ConfigError('HOLDFAST_CLIENT_CRL_FILE: needs HOLDFAST_CLIENT_CA_FILE')
  }
  if (config.HOLDFAST_TLS_PORT === undefined) return undefined
  if (cert !== undefined && key !== undefined) return { cert, key, clientCa, clientCrl, clients }
  throw new ConfigError('HOLDFAST_TLS_PORT: needs HOLDFAST_TLS_CERT_FILE and HOLDFAST_TLS_KEY_FILE')
}

function certificateHeader(config: ControlPlaneConfig): CertificateHeader | undefined {
  const { HOLDFAST_CERTIFICATE_HEADER: name, HOLDFAST_CERTIFICATE_VERIFIED_HEADER: verified } = config
  const proxies = wordsOf(config.HOLDFAST_CERTIFICATE_PROXIES)
  read('HOLDFAST_CERTIFICATE_PROXIES', () => proxies.map(parseRange))
  if ((name === undefined) !== (proxies.length === 0) || (name === undefined && verified !== undefined)) {
    throw new ConfigError('HOLDFAST_CERTIFICATE_HEADER: goes with HOLDFAST_CERTIFICATE_PROXIES')
  }
  if (name !== undefined && name.toLowerCase() === verified?.toLowerCase()) {
    throw new ConfigError(
      'HOLDFAST_CERTIFICATE_VERIFIED_HEADER: must be another header than HOLDFAST_CERTIFICATE_HEADER',
    )
  }
  return name === undefined ? undefined : { name, verified, proxies }
}

/** Whom the listeners believe what, as the operator configured it. @throws ConfigError. */
export function listenerOptions(config: ControlPlaneConfig) {
  const proxies = wordsOf(config.HOLDFAST_TRUSTED_PROXIES)
  read('HOLDFAST_TRUSTED_PROXIES', () => proxies.map(parseRange))
  return {
    trustedNetworks: read('HOLDFAST_TRUSTED_NETWORKS', () => parseTrustedNetworks(config.HOLDFAST_TRUSTED_NETWORKS)),
    proxies,
    allowedHosts: [
      config.HOLDFAST_BIND,
      ...wordsOf(config.HOLDFAST_TLS_BIND ?? ''),
      ...wordsOf(config.HOLDFAST_BACKUP_BIND ?? ''),
      ...wordsOf(config.HOLDFAST_ALLOWED_HOSTS),
    ],
    tls: tlsFiles(config),
    certificateHeader: certificateHeader(config),
  }
}
