import { readXml } from '../xml-elements.ts'

/** One `response` of a 207 answer (RFC 4918 §14.24): the properties that were asked for and found. */
export interface DavProperties {
  readonly href: string
  readonly directory: boolean
  readonly sizeBytes: number
  readonly modifiedAt: Date | undefined
  readonly availableBytes: number | undefined
  readonly usedBytes: number | undefined
}

/** RFC 4331 §3 and RFC 4918 §15. */
export const PROPFIND_BODY = `<?xml version="1.0" encoding="utf-8"?>
<propfind xmlns="DAV:"><prop><resourcetype/><getcontentlength/><getlastmodified/></prop></propfind>`
export const QUOTA_BODY = `<?xml version="1.0" encoding="utf-8"?>
<propfind xmlns="DAV:"><prop><quota-available-bytes/><quota-used-bytes/></prop></propfind>`

const RESPONSE = 'multistatus/response'
const PROP = `${RESPONSE}/propstat/prop`
const MEMBERS: Readonly<Record<string, string>> = {
  [`${RESPONSE}/href`]: 'href',
  [`${PROP}/resourcetype/collection`]: 'directory',
  [`${PROP}/getcontentlength`]: 'size',
  [`${PROP}/getlastmodified`]: 'modified',
  [`${PROP}/quota-available-bytes`]: 'available',
  [`${PROP}/quota-used-bytes`]: 'used',
}

/** Calls `each` for every response as it is read. @throws FleetError `internal` */
export async function readPropfind(chunks: AsyncIterable<Buffer>, each: (found: DavProperties) => void): Promise<void> {
  let found: Record<string, string> = {}
  await readXml(chunks, {
    element(path, text) {
      const member = MEMBERS[path]
      if (member !== undefined && (member === 'directory' || text.trim() !== '')) found[member] = text.trim()
      if (path !== RESPONSE) return
      if (found.href !== undefined) each(propertiesOf(found.href, found))
      found = {}
    },
  })
}

function propertiesOf(href: string, found: Readonly<Record<string, string>>): DavProperties {
  const modified = new Date(found.modified ?? Number.NaN)
  return {
    href,
    directory: found.directory !== undefined,
    sizeBytes: countOf(found.size) ?? 0,
    modifiedAt: Number.isNaN(modified.getTime()) ? undefined : modified,
    availableBytes: countOf(found.available),
    usedBytes: countOf(found.used),
  }
}

function countOf(text: string | undefined): number | undefined {
  return text !== undefined && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}
