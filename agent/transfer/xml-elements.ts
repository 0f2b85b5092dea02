import { SaxesParser } from 'saxes'
import { FleetError } from '../../shared/errors.ts'

const MAX_DEPTH = 32
const MAX_TEXT_BYTES = 65_536
/** From one tag to the next: longer ones, and longer comments, are kept whole by saxes. */
const MAX_BETWEEN_BYTES = 4 * MAX_TEXT_BYTES
/** Of the longest listing that is read, with a score for each entry. */
const MAX_ELEMENTS = 2 ** 21

export interface XmlReader {
  /** An element ended. @param path local names from the root, joined by `/`. @param text what stood directly in it */
  readonly element: (path: string, text: string) => void
}

/**
 * Reads a server's XML as it comes, by local names; keeps one element's text at a time. No document type is accepted: entities of
 * its own are how a small answer becomes a large one. @throws FleetError `internal` for anything but well-formed XML
 */
export async function readXml(chunks: AsyncIterable<Buffer>, reader: XmlReader): Promise<void> {
  const parser = new SaxesParser({ xmlns: true, position: false })
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const stack: { readonly path: string; text: string }[] = []
  let [betweenBytes, elements] = [0, 0]
  parser.on('error', (cause) => {
    throw unreadable(cause)
  })
  parser.on('doctype', () => {
    throw unreadable()
  })
  parser.on('opentag', ({ local }) => {
    betweenBytes = 0
    elements += 1
    if (stack.length === MAX_DEPTH || elements > MAX_ELEMENTS) throw unreadable()
    const parent = stack.at(-1)
    stack.push({ path: parent === undefined ? local : `${parent.path}/${local}`, text: '' })
  })
  const addText = (text: string) => {
    const element = stack.at(-1)
    if (element === undefined) return
    if (element.text.length + text.length > MAX_TEXT_BYTES) throw unreadable()
    element.text += text
  }
  parser.on('text', addText)
  parser.on('cdata', addText)
  parser.on('closetag', () => {
    betweenBytes = 0
    const element = stack.pop()
    if (element !== undefined) reader.element(element.path, element.text)
  })
  for await (const chunk of chunks) {
    betweenBytes += chunk.length
    if (betweenBytes > MAX_BETWEEN_BYTES) throw unreadable()
    parser.write(decoded(decoder, chunk))
  }
  parser.close()
}

function decoded(decoder: TextDecoder, chunk: Buffer): string {
  try {
    return decoder.decode(chunk, { stream: true })
  } catch (cause) {
    throw unreadable(cause)
  }
}

function unreadable(cause?: unknown): FleetError {
  return new FleetError('internal', 'answers with XML that cannot be read', cause === undefined ? {} : { cause })
}
