import type { TargetEntry } from '../../../shared/wire/reads.ts'
import { type Caller, hasRole } from '../../core/caller.ts'
import type { TargetCondition, TargetInfo } from '../../core/targets.ts'
import { showAddress } from './target-address.ts'
import type { EntryView, TargetView } from './target-schemas.ts'

export function etagOfTarget({ number, version }: Pick<TargetInfo, 'number' | 'version'>): string {
  return `"target-${number}.${version}"`
}

export function expectingTarget(ifMatch: ((etag: string) => boolean) | undefined): TargetCondition | undefined {
  return ifMatch && ((current) => ifMatch(etagOfTarget(current)))
}

/** What the document's targets do not have, where this one is not as they are. */
function extrasOf({ config, recipients }: TargetInfo): Partial<TargetView> {
  const encryption = recipients.length > 0 ? { recipients: [...recipients] } : {}
  if (config.protocol === 'local') return { protocol: 'local', ...encryption }
  const usual = config.protocol === 's3' ? 'server' : 'reread'
  const common = { ...encryption, ...(config.verify === usual ? {} : { verify: config.verify }) }
  if (config.protocol === 'sftp') {
    return { protocol: 'sftp', ...(config.hostKey === undefined ? {} : { host_key: config.hostKey }), ...common }
  }
  const trusted = config.ca === undefined ? common : { ...common, ca: config.ca }
  if (config.protocol === 'webdav') return trusted
  const { bucket, region, pathStyle } = config
  return { protocol: 's3', bucket, region, path_style: pathStyle, ...trusted }
}

export function presentTarget(target: TargetInfo): TargetView {
  const { config, description, number, name } = target
  const isLocal = config.protocol === 'local'
  return {
    base: config.base,
    desc: description,
    encrypt: config.protocol === 'sftp' || (!isLocal && config.encrypt),
    id: number,
    ipaddr: isLocal ? '' : showAddress(config),
    name,
    username: isLocal ? '' : config.protocol === 's3' ? config.accessKeyId : config.username,
    ...extrasOf(target),
  }
}

export function presentEntry({ name, kind, points }: TargetEntry, caller: Caller): EntryView {
  const isDirectory = kind === 'directory'
  return {
    is_dir: isDirectory,
    name,
    type: points ? 'b' : isDirectory ? 'd' : 'f',
    write: isDirectory && hasRole(caller, 'operator'),
    ...(points ? { points } : {}),
  }
}
