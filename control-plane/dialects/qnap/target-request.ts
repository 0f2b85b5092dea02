import { isIP } from 'node:net'
import type { TargetSecret } from '../../../shared/target-config.ts'
import { mergeConfig } from '../../core/target-rules.ts'
import type { ChangeTarget, CreateTarget, TargetInfo } from '../../core/targets.ts'
import { createClientWords, type FieldNames } from './client-words.ts'
import { defaultPort, parseAddress } from './target-address.ts'
import type { ChangeTargetBody, CreateTargetBody } from './target-schemas.ts'

function given<Members extends object>(members: Members): Partial<Members> {
  // as: the entries are some of the members
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined)) as Partial<Members>
}

function secretOf({ password, private_key, passphrase, identity }: ChangeTargetBody): TargetSecret {
  return given({ password, privateKey: private_key, passphrase, identity })
}

type Protocol = NonNullable<ChangeTargetBody['protocol']>

/** Members of the configuration under core's names; what a protocol does not have core leaves out. */
function configOf(body: ChangeTargetBody, protocol: Protocol) {
  const { name, username, base, encrypt, bucket, region, path_style, host_key, ca, verify } = body
  const who = protocol === 's3' ? { accessKeyId: username } : { username }
  const host = body.ipaddr === undefined ? undefined : parseAddress(body.ipaddr)?.host
  return given({
    name,
    protocol: body.protocol,
    host,
    base,
    encrypt,
    bucket,
    region,
    pathStyle: path_style,
    hostKey: host_key,
    ca,
    verify,
    ...who,
  })
}

export function newTarget(body: CreateTargetBody): CreateTarget {
  const protocol = body.protocol ?? 'webdav'
  const encrypt = body.encrypt ?? protocol === 's3'
  const { host = '', port = defaultPort(protocol, encrypt) } = parseAddress(body.ipaddr) ?? {}
  // No bucket has a name in front of an address.
  const pathStyle = body.path_style ?? isIP(host) !== 0
  return {
    config: { ...configOf(body, protocol), protocol, encrypt, port, pathStyle },
    description: body.desc,
    secret: secretOf(body),
    recipients: body.recipients,
  }
}

/** An address without a port has the one of the protocol, which `encrypt` may change. */
function changedPort(body: ChangeTargetBody, { config }: TargetInfo): { readonly port?: number } {
  if (config.protocol === 'local') return {}
  const { ipaddr } = body
  const wasEncrypted = config.protocol === 'sftp' || config.encrypt
  const protocol = body.protocol ?? config.protocol
  const usual = defaultPort(protocol, body.encrypt ?? wasEncrypted)
  if (ipaddr !== undefined) return { port: parseAddress(ipaddr)?.port ?? usual }
  return config.port === defaultPort(config.protocol, wasEncrypted) ? { port: usual } : {}
}

/** @param current what it is asked to change: what is absent in `body` depends on that. */
export function targetChange(body: ChangeTargetBody, current: TargetInfo): ChangeTarget {
  const { protocol } = current.config
  const named = configOf(body, body.protocol ?? (protocol === 'local' ? 'webdav' : protocol))
  const secret = secretOf(body)
  return {
    description: body.desc,
    recipients: body.recipients,
    ...(Object.keys(named).length > 0
      ? { config: mergeConfig(current.config, { ...named, ...changedPort(body, current) }) }
      : {}),
    ...(Object.keys(secret).length > 0 ? { secret } : {}),
  }
}

const CONFIG_NAMES: FieldNames = {
  host: 'ipaddr',
  port: 'ipaddr',
  accessKeyId: 'username',
  pathStyle: 'path_style',
  hostKey: 'host_key',
  privateKey: 'private_key',
}
const OF_CONFIG = Object.fromEntries(Object.entries(CONFIG_NAMES).map(([name, own]) => [`config.${name}`, own]))

export const inClientWords = createClientWords({
  ...CONFIG_NAMES,
  ...OF_CONFIG,
  config: '',
  'secret.privateKey': 'private_key',
  secret: '',
  description: 'desc',
})
