// The table of cases can be sorted and filtered; without this script it is whole and plain.
(() => {
  "use strict";
  const table = document.querySelector("#cases-table");
  if (!table || typeof DataTable === "undefined") return;
  new DataTable(table, {
    autoWidth: false,
    order: [],
    paging: false,
    layout: { topStart: "search", topEnd: "info", bottomStart: null, bottomEnd: null },
    language: {
      search: "Filter",
      searchPlaceholder: "kind, layout, reason …",
      info: "_TOTAL_ rows",
      infoEmpty: "No rows",
      infoFiltered: "of _MAX_",
      zeroRecords: "No row holds these words.",
      emptyTable: "There is no case.",
    },
  });
})();
