import { ConfigError } from '../shared/config.ts'
import type { ControlPlaneConfig } from './config.ts'
import { parseRange, parseTrustedNetworks } from './http/networks.ts'
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
  if (config.HOLDFAST_TLS_PORT === undefined) return undefined
  if (cert !== undefined && key !== undefined) return { cert, key, clientCa }
  throw new ConfigError('HOLDFAST_TLS_PORT: needs HOLDFAST_TLS_CERT_FILE and HOLDFAST_TLS_KEY_FILE')
}

/** Whom the listeners believe what, as the operator configured it. @throws ConfigError. */
export function listenerOptions(config: ControlPlaneConfig) {
  const proxies = wordsOf(config.HOLDFAST_TRUSTED_PROXIES)
  read('HOLDFAST_TRUSTED_PROXIES', () => proxies.map(parseRange))
  return {
    trustedNetworks: read('HOLDFAST_TRUSTED_NETWORKS', () => parseTrustedNetworks(config.HOLDFAST_TRUSTED_NETWORKS)),
    proxies,
    allowedHosts: [config.HOLDFAST_BIND, ...wordsOf(config.HOLDFAST_ALLOWED_HOSTS)],
    tls: tlsFiles(config),
  }
}
