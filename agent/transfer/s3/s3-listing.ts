import { FleetError } from '../../../shared/errors.ts'
import { isName } from '../target-path.ts'
import type { Entry, Page } from '../transfer.ts'
import { readXml } from '../xml-elements.ts'

/** S3 itself tells a thousand at a time, others some thousands. */
const MAX_PAGE_ENTRIES = 10_000
/** What of an entry is kept until it ends. */
const MEMBERS: ReadonlySet<string> = new Set(['Key', 'Size', 'LastModified', 'Prefix', 'UploadId', 'Initiated'])

/** ListObjectsV2's answer. @param prefix what was asked for; names come without it. @throws FleetError `too_large` */
export async function readObjects(chunks: AsyncIterable<Buffer>, prefix: string): Promise<Page> {
  const entries: Entry[] = []
  let cursor: string | undefined
  let found: Record<string, string> = {}
  await readXml(chunks, {
    element(path, text) {
      const [, parent = '', member] = path.split('/')
      if (member !== undefined) keep(found, member, text)
      else if (parent === 'NextContinuationToken' && text !== '') cursor = text
      else if (parent === 'Contents') entries.push(...fileOf(found, prefix))
      else if (parent === 'CommonPrefixes') entries.push(...directoryOf(found, prefix))
      requireFew(entries)
      if (member === undefined) found = {}
    },
  })
  return { entries, cursor }
}

function keep(found: Record<string, string>, member: string, text: string): void {
  if (MEMBERS.has(member)) found[member] = text
}

function requireFew(entries: readonly unknown[]): void {
  if (entries.length > MAX_PAGE_ENTRIES)
    throw new FleetError('too_large', `answers with more than ${MAX_PAGE_ENTRIES} entries at a time`)
}

function fileOf(found: Readonly<Record<string, string>>, prefix: string): readonly Entry[] {
  const name = nameBelow(found.Key, prefix)
  if (name === undefined) return []
  return [{ name, kind: 'file', sizeBytes: Number(found.Size) || 0, modifiedAt: dateOf(found.LastModified) }]
}

function directoryOf(found: Readonly<Record<string, string>>, prefix: string): readonly Entry[] {
  const name = nameBelow(found.Prefix?.replace(/\/$/, ''), prefix)
  return name === undefined ? [] : [{ name, kind: 'directory', sizeBytes: 0, modifiedAt: undefined }]
}

/** Keys that no path could name (another program's) are left out. */
function nameBelow(key: string | undefined, prefix: string): string | undefined {
  if (key === undefined || !key.startsWith(prefix)) return undefined
  const name = key.slice(prefix.length)
  return isName(name) ? name : undefined
}

export interface OpenMultipart {
  readonly key: string
  readonly uploadId: string
  readonly begunAt: Date | undefined
}

/** ListMultipartUploads' answer. @throws FleetError `too_large` */
export async function readMultiparts(chunks: AsyncIterable<Buffer>): Promise<readonly OpenMultipart[]> {
  const uploads: OpenMultipart[] = []
  let found: Record<string, string> = {}
  await readXml(chunks, {
    element(path, text) {
      const [, parent, member, deeper] = path.split('/')
      if (parent !== 'Upload' || deeper !== undefined) return
      if (member !== undefined) keep(found, member, text)
      else {
        const { Key: key, UploadId: uploadId } = found
        if (key !== undefined && uploadId !== undefined)
          uploads.push({ key, uploadId, begunAt: dateOf(found.Initiated) })
        requireFew(uploads)
        found = {}
      }
    },
  })
  return uploads
}

/** One value of a small answer: `UploadId`, `ETag`. */
export async function readMember(chunks: AsyncIterable<Buffer>, name: string): Promise<string | undefined> {
  let value: string | undefined
  await readXml(chunks, {
    element(path, text) {
      if (path.split('/')[1] === name) value = text
    },
  })
  return value
}

function dateOf(text: string | undefined): Date | undefined {
  const date = new Date(text ?? Number.NaN)
  return Number.isNaN(date.getTime()) ? undefined : date
}
