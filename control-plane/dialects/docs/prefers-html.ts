/** The weight that `Accept` gives to exactly this type; 0 when it does not name it. */
function weightOf(accept: string, type: string): number {
  for (const entry of accept.split(',')) {
    const [name = '', ...parameters] = entry.split(';').map((part) => part.trim().toLowerCase())
    if (name !== type) continue
    const weight = parameters.find((parameter) => parameter.startsWith('q='))
    return weight === undefined ? 1 : Number(weight.slice(2)) || 0
  }
  return 0
}

/** Whether the client is a browser that shows pages: it names HTML, and JSON less or not at all. */
export function prefersHtml(accept: string | undefined): boolean {
  if (accept === undefined) return false
  const html = weightOf(accept, 'text/html')
  return html > 0 && html > weightOf(accept, 'application/json')
}
