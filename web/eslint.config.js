import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["node_modules", "eslint.config.js"] },
  tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      eqeqeq: "error",
      "no-console": "error",
      "no-restricted-properties": [
        "error",
        { property: "innerHTML", message: "Messages are text, never HTML." },
        { property: "outerHTML", message: "Messages are text, never HTML." },
        { property: "insertAdjacentHTML", message: "Messages are text, never HTML." },
      ],
      "no-restricted-syntax": [
        "error",
        { selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']", message: "Messages are text, never HTML." },
      ],
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
    },
  },
  {
    // State decides from values alone: no clock, no randomness, no browser.
    files: ["src/state/**", "src/protocol/**"],
    rules: {
      "no-restricted-globals": ["error", "window", "document", "fetch", "WebSocket", "indexedDB", "crypto", "setTimeout", "localStorage", "sessionStorage", "navigator"],
      "no-restricted-properties": [
        "error",
        { object: "Date", property: "now", message: "The clock is passed in." },
        { object: "Math", property: "random", message: "Randomness is passed in." },
      ],
    },
  },
);
