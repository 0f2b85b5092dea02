import type { Listener } from '../../shared/addresses.ts'

const NATS_PORT = 4222

/** `host:port` (an address of IPv6 in brackets) or a URL of NATS as listeners; none where it is neither. */
export function listenerOf(text: string): readonly Listener[] {
  const url = text.includes('://') ? text : `tcp://${text}`
  if (!URL.canParse(url)) return []
  const { hostname, port, protocol } = new URL(url)
  if (hostname === '' || (port === '' && protocol === 'tcp:')) return []
  return [{ host: hostname, port: port === '' ? NATS_PORT : Number(port) }]
}
