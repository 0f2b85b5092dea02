/** Something the operator can put right. Its message is one line (or few) for their terminal; no stack is shown. */
export class StartError extends Error {
  override readonly name = 'StartError'
}
