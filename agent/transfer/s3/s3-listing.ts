import { isName } from '../target-path.ts'
import type { Entry, Page } from '../transfer.ts'
import { readXml } from '../xml-elements.ts'

/** ListObjectsV2's answer. @param prefix what was asked for; names come without it */
export async function readObjects(chunks: AsyncIterable<Buffer>, prefix: string): Promise<Page> {
  const entries: Entry[] = []
  let cursor: string | undefined
  let found: Record<string, string> = {}
  await readXml(chunks, {
    element(path, text) {
      const [, parent = '', member] = path.split('/')
      if (member !== undefined) found[member] = text
      else if (parent === 'NextContinuationToken' && text !== '') cursor = text
      else if (parent === 'Contents') entries.push(...fileOf(found, prefix))
      else if (parent === 'CommonPrefixes') entries.push(...directoryOf(found, prefix))
      if (member === undefined) found = {}
    },
  })
  return { entries, cursor }
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

/** ListMultipartUploads' answer. */
export async function readMultiparts(chunks: AsyncIterable<Buffer>): Promise<readonly OpenMultipart[]> {
  const uploads: OpenMultipart[] = []
  let found: Record<string, string> = {}
  await readXml(chunks, {
    element(path, text) {
      const [, parent, member, deeper] = path.split('/')
      if (parent !== 'Upload' || deeper !== undefined) return
      if (member !== undefined) found[member] = text
      else {
        const { Key: key, UploadId: uploadId } = found
        if (key !== undefined && uploadId !== undefined)
          uploads.push({ key, uploadId, begunAt: dateOf(found.Initiated) })
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
