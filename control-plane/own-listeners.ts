import { networkInterfaces } from 'node:os'
import type { ControlPlaneConfig } from './config.ts'

const WILDCARDS = ['0.0.0.0', '::']
const POSTGRES_PORT = '5432'
const NATS_PORT = '4222'

/**
 * `host:port` of the fleet's own database, NATS and listeners: no target may lead there. A listener on every address is
 * told by each address that this machine has now; IPv6 addresses stand in brackets.
 * @param ports of our HTTP listeners, as they turned out.
 */
export function ownListeners(config: ControlPlaneConfig, ports: readonly number[]): readonly string[] {
  const { HOLDFAST_BIND: bind, HOLDFAST_TLS_BIND: tls = bind, HOLDFAST_BACKUP_BIND: backup = bind } = config
  const binds = [bind, tls, backup]
  const addresses = binds.flatMap((bind) => (WILDCARDS.includes(bind) ? machineAddresses() : [bind]))
  const found = [
    ...endpointsOf(config.DATABASE_URL, POSTGRES_PORT),
    ...[config.NATS_URL, ...config.HOLDFAST_AGENT_NATS_URLS.split(',')].flatMap((url) => endpointsOf(url, NATS_PORT)),
    ...ports.flatMap((port) => addresses.map((address) => `${bracketed(address)}:${port}`)),
  ]
  return [...new Set(found)]
}

/** None for a socket in the file system, or nothing. */
function endpointsOf(text: string, port: string): readonly string[] {
  const url = URL.parse(text)
  if (url === null || url.hostname === '') return []
  return [`${url.hostname}:${url.port || port}`]
}

function machineAddresses(): readonly string[] {
  return Object.values(networkInterfaces()).flatMap((addresses = []) => addresses.map(({ address }) => address))
}

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address
}
