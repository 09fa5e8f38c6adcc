/** Server-sent events out of pieces of text (WHATWG HTML, 9.2.6), as far as this protocol uses them: only `data` counts. */

export class EventStream {
  private rest = "";
  private data: string[] = [];

  /** The data of every event that is complete with this piece. */
  take(piece: string): readonly string[] {
    const lines = (this.rest + piece).split(/\r\n|\n|\r(?!$)/);
    this.rest = lines.pop() ?? "";
    return lines.flatMap((line) => this.line(line) ?? []);
  }

  private line(line: string): string | null {
    if (line.startsWith("data:")) this.data.push(line.slice(line.startsWith("data: ") ? 6 : 5));
    if (line !== "" || this.data.length === 0) return null;
    const data = this.data.join("\n");
    this.data = [];
    return data;
  }
}
