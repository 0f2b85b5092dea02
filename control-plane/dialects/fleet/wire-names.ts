import { FleetError } from '../../../shared/errors.ts'

/** Members that core and clients spell differently, wherever in a body they are. */
const CLIENT_NAMES: Readonly<Record<string, string>> = {
  hostKey: 'host_key',
  pathStyle: 'path_style',
  accessKeyId: 'access_key_id',
  bytesPerSecond: 'bytes_per_second',
  privateKey: 'private_key',
  newDataset: 'new_dataset',
  sizeBytes: 'size_bytes',
  createParent: 'create_parent',
}
const CORE_NAMES = Object.fromEntries(Object.entries(CLIENT_NAMES).map(([core, client]) => [client, core]))

function renamed(value: unknown, names: Readonly<Record<string, string>>): unknown {
  if (Array.isArray(value)) return value.map((element) => renamed(element, names))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [named(name, names), renamed(member, names)]))
}

/** Members that clients choose may be called `toString`. */
function named(name: string, names: Readonly<Record<string, string>>): string {
  return (Object.hasOwn(names, name) ? names[name] : undefined) ?? name
}

/** The same value with its members named as core names them. */
export function inCoreNames(value: unknown): unknown {
  return renamed(value, CORE_NAMES)
}

/** The same value with its members named as clients name them. */
export function inClientNames(value: unknown): unknown {
  return renamed(value, CLIENT_NAMES)
}

/** A field that core names, as the client spelled it. */
function clientField(field: string): string {
  const segments = field.split('.').map((segment) => named(segment, CLIENT_NAMES))
  return segments[0] === 'config' || segments[0] === 'secret' ? segments.slice(1).join('.') : segments.join('.')
}

/** What `work` answers. @throws what it throws, fields at fault named as `rename` says. */
async function renamingFields<Result>(work: Promise<Result>, rename: (field: string) => string): Promise<Result> {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof FleetError) || error.field === undefined) throw error
    const field = rename(error.field)
    if (field === error.field || field === '') throw error
    const { blockers, members, detail } = error
    throw new FleetError(error.code, error.message.replace(`${error.field}:`, `${field}:`), {
      field,
      cause: error,
      ...(blockers ? { blockers } : {}),
      ...(members ? { members } : {}),
      ...(detail === undefined ? {} : { detail }),
    })
  }
}

/** What `work` answers. @throws what it throws, fields at fault named as the client spelled them. */
export function inClientWords<Result>(work: Promise<Result>): Promise<Result> {
  return renamingFields(work, clientField)
}

/** The same for what core knows as the member `core` and the client wrote as `member`. */
export function spelled<Result>(core: string, member: string, work: Promise<Result>): Promise<Result> {
  return renamingFields(work, (field) => (field === core ? member : field))
}

/** The same for what the client wrote in `member` of its body. */
export function below<Result>(member: string, work: Promise<Result>): Promise<Result> {
  return renamingFields(work, (field) => `${member}.${field}`)
}
