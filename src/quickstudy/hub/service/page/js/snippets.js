import { currentKey } from "./keys.js";

const header = () => (currentKey() ? ` \\\n  -H "Authorization: Bearer $QUICKSTUDY_KEY"` : "");

/** How to adapt a model from elsewhere. */
export function adaptSnippets(model) {
  const url = `${location.origin}/v1/models/${encodeURIComponent(model.name)}/adapt`;
  const key = currentKey() ? `, key=os.environ["QUICKSTUDY_KEY"]` : "";
  const start = `${key ? "import os\n\n" : ""}import quickstudy as qs\n\nclient = qs.Client("${location.origin}"${key})\n`;
  if (model.reads === "images" && model.targets === "classes") {
    const curl = `curl -s${header()} -F "alpha=@a.png" -F "beta=@b.png" \\\n  ${url}`;
    const python = `${start}adapted = client.adapt("${model.name}", {"alpha": ["a.png"], "beta": ["b.png"]})\nprint(adapted.predict(["new.png"]))`;
    return [{ name: "curl", label: "curl command", text: curl }, { name: "Python", label: "Python code", text: python }];
  }
  const inputs = [example(model.input_shape, 0), example(model.input_shape, 1)];
  const told = model.targets === "classes" ? ["alpha", "beta"] : [[0.2], [0.7]];
  const body = { x: model.reads === "images" ? undefined : inputs, [model.targets === "classes" ? "labels" : "targets"]: told };
  const curl = `curl -s${header()} -H "Content-Type: application/json" \\\n  -d '${JSON.stringify(body)}' \\\n  ${url}`;
  const python = `${start}adapted = client.adapt("${model.name}", (${JSON.stringify(inputs)}, ${JSON.stringify(told)}))\nprint(adapted.predict([${JSON.stringify(inputs[0])}]))`;
  return [{ name: "curl", label: "curl command", text: curl }, { name: "Python", label: "Python code", text: python }];
}

/** How to ask what was adapted from elsewhere. */
export const predictSnippet = (id) => `curl -s${header()} -F "image=@new.png" \\\n  ${location.origin}/v1/adapted/${id}/predict`;

/** An input of a shape, as short as can be; of a large one only its beginning would be read. */
function example(shape, by) {
  if (!shape || shape.length > 1) return [by];
  return Array.from({ length: Math.min(shape[0], 12) }, (_, i) => (i + 1 + by) / 10);
}
