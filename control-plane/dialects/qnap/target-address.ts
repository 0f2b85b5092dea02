import type { TargetConfig } from '../../../shared/target-config.ts'

type Protocol = Exclude<TargetConfig['protocol'], 'local'>

const SFTP_PORT = 22
const PLAIN_PORT = 80
const TLS_PORT = 443
const PORT_MAX = 65_535

export interface Address {
  readonly host: string
  /** Undefined: what the protocol has. */
  readonly port: number | undefined
}

/** `host`, `host:port`, `[v6]:port` or a bare address of version 6. @returns undefined for what is none of them. */
export function parseAddress(text: string): Address | undefined {
  const isBareV6 = text.split(':').length > 2 && !text.startsWith('[')
  if (isBareV6) return { host: text, port: undefined }
  const found = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
  const host = found?.[1] ?? found?.[2]
  if (host === undefined) return undefined
  const port = found?.[3] === undefined ? undefined : Number(found[3])
  return port === 0 || (port ?? 0) > PORT_MAX ? undefined : { host, port }
}

export function defaultPort(protocol: Protocol, encrypt: boolean): number {
  if (protocol === 'sftp') return SFTP_PORT
  return encrypt ? TLS_PORT : PLAIN_PORT
}

/** The opposite of `parseAddress`: a port that goes without saying is not said. */
export function showAddress(config: Exclude<TargetConfig, { protocol: 'local' }>): string {
  const { host, port, protocol } = config
  const isDefault = port === defaultPort(protocol, protocol === 'sftp' || config.encrypt)
  if (isDefault) return host
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
